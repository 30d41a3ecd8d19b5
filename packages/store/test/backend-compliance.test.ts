import { describe, it } from 'vitest'
import { testBackend } from '../src/backend-compliance/index.js'
import { canMount, lmdbBackend, lmdbBackendOnSmallDisk, memoryBackend } from './support/backend-adapters.js'

testBackend({ describe, it }, memoryBackend)
testBackend({ describe, it }, lmdbBackend)
if (canMount) testBackend({ describe, it }, lmdbBackendOnSmallDisk)
