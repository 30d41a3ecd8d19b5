/**
 * @packageDocumentation
 *
 * The promises of a {@link RaftLog} as tests, for authors of a log. They run with any test runner that has `describe`
 * and `it`. Each gets a fresh storage. Time comes only from turns of the event loop, so that a failure can be repeated.
 *
 * @example
 * ```ts
 * import { describe, it } from 'node:test'
 * import { testRaftLog } from '@quire/raft/log-compliance'
 *
 * testRaftLog({ describe, it }, {
 *   name: 'my log',
 *   createStorage: () => new MyStorage(),
 *   open: (storage, create) => openMyLog(storage, create),
 *   powerLoss: (storage, random) => storage.forgetSomeUnflushedWrites(random)
 * })
 * ```
 */
import { compactionTests } from './compaction.js'
import { crashTests } from './crashes.js'
import { descriptorTests } from './descriptors.js'
import { faultTests } from './faults.js'
import { readingTests } from './reading.js'
import type { LogAdapter, Rig, TestFunctions } from './rig.js'
import { writingTests } from './writing.js'

export type { LogAdapter, TestFunctions } from './rig.js'

/** Declares the tests. */
export function testRaftLog<S>(functions: TestFunctions, adapter: LogAdapter<S>): void {
  const rig: Rig<S> = { functions, adapter }
  functions.describe(`${adapter.name} as a Raft log`, () => {
    functions.describe('writing', () => writingTests(rig))
    functions.describe('reading', () => readingTests(rig))
    functions.describe('reset and compaction', () => compactionTests(rig))
    functions.describe('faults', () => faultTests(rig))
    functions.describe('file descriptors', () => descriptorTests(rig))
    functions.describe('power loss', () => crashTests(rig))
  })
}
