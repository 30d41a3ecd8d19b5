/**
 * @packageDocumentation
 *
 * The promises of a {@link Backend} as a test suite, for authors of backends.
 *
 * The suite runs on any test runner that has `describe` and `it`. Each test gets a storage of its own. The suite reads
 * no clock and draws no random numbers, so it gives a backend the same calls in every run.
 *
 * @example
 * ```ts
 * import { describe, it } from 'node:test'
 * import { testBackend } from '@quire/store/backend-compliance'
 *
 * testBackend({ describe, it }, {
 *   name: 'my backend',
 *   createStorage: () => new MyStorage(),
 *   open: (storage) => openMyBackend(storage),
 *   crash: (storage, random) => storage.forgetSomeUnflushedWrites(random)
 * })
 * ```
 */
import type { TestFunctions } from '@quire/raft/log-compliance'
import { commitTests } from './commits.js'
import { crashTests } from './crashes.js'
import { faultTests } from './faults.js'
import { incomingTests } from './incoming.js'
import { readingTests } from './reading.js'
import type { BackendAdapter, Rig } from './rig.js'
import { viewTests } from './views.js'

export type { TestFunctions } from '@quire/raft/log-compliance'
export type * from '../pages/backend.js'
export type { BackendAdapter } from './rig.js'

/** Declares the tests. A test that needs a hook which `adapter` lacks is reported as skipped. */
export function testBackend<S>(functions: TestFunctions, adapter: BackendAdapter<S>): void {
  const rig: Rig<S> = { functions, adapter }
  functions.describe(`${adapter.name} as a backend of the page store`, () => {
    functions.describe('reading', () => readingTests(rig))
    functions.describe('commits', () => commitTests(rig))
    functions.describe('views', () => viewTests(rig))
    functions.describe('incoming rows', () => incomingTests(rig))
    functions.describe('crashes', () => crashTests(rig))
    functions.describe('faults', () => faultTests(rig))
  })
}
