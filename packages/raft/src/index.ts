/**
 * @packageDocumentation
 *
 * Raft for Quire: a pure core (`createRaftCore`), a log on disk (`createSegmentedLog`), and the driver that runs both
 * (`createRaftNode`). `@quire/raft/node-disk` is the real disk; `createMemoryDisk` is a disk that loses power on
 * demand.
 * `createMemoryLog` is a log without a disk. To test a log of your own, run `@quire/raft/log-compliance` on it.
 *
 * @example
 * ```ts
 * const disk = createNodeDisk('/var/lib/quire/raft')
 * const create = { bootstrap: { voters: [a, b, c], learners: [], context } }
 * const log = await createSegmentedLog({ disk, identity: `${clusterId} ${a}`, create })
 * const node = createRaftNode({ clock, random, transport, log, application }, { id: a })
 * const { index, term } = node.propose(command) // committed once application.apply gets this index with this term
 * await node.readIndex() // the state machine may be read now, linearizably
 * await node.close()
 * ```
 */
export * from './core/index.js'
export * from './errors.js'
export { SECTOR_BYTES, type Disk, type DiskFile, type ReadFile } from './log/disk.js'
export { createMemoryDisk, type DiskOperation, type MemoryDisk, type MemoryDiskInit } from './log/memory-disk.js'
export { createMemoryLog, type MemoryLog, type MemoryLogInit } from './log/memory-log.js'
export { createSegmentedLog } from './log/segmented-log.js'
export type { FirstConfiguration, LogCreation, LogWrite, RaftLog, SegmentedLogInit } from './log/types.js'
export type * from './node-types.js'
export { DEFAULT_RAFT_LIMITS } from './limits.js'
export { createRaftNode } from './node.js'
