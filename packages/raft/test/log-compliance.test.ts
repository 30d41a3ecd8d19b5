import { describe, it } from 'vitest'
import { testRaftLog } from '../src/log-compliance/index.js'
import { memoryLog, segmentedLogInMemory, segmentedLogOnFiles } from './support/log-adapters.js'

testRaftLog({ describe, it }, memoryLog)
testRaftLog({ describe, it }, segmentedLogInMemory)
testRaftLog({ describe, it }, segmentedLogOnFiles)
