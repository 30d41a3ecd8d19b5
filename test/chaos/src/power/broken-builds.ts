/**
 * Peers that a loss of power breaks, and the end of a process does not: each lacks a flush. A chaos test that does not
 * notice that is worthless.
 */
import type { Change, Mutant } from '#mutants/mutant'

/** Small segments and frequent checkpoints, so that a short test fills segments and drops them. */
export const BRISK: readonly Change[] = [
  {
    file: 'raft/dist/log/segmented-log.js',
    find: 'DEFAULT_SEGMENT_BYTES = 16 * 1024 * 1024;',
    replace: 'DEFAULT_SEGMENT_BYTES = 256 * 1024;'
  },
  {
    file: 'store/dist/pages/applier.js',
    find: 'init.checkpointIntervalMs ?? 5_000;',
    replace: 'init.checkpointIntervalMs ?? 200;'
  }
]

export const BROKEN_BUILDS: readonly Mutant[] = [
  {
    name: 'the log acknowledges entries before a flush',
    rule: 'raft.md, The log on disk',
    file: 'raft/dist/node-disk.js',
    find: 'constants.O_RDWR | constants.O_DSYNC;',
    replace: 'constants.O_RDWR;'
  },
  {
    name: 'the name of a new segment is not flushed',
    rule: 'raft.md, The log on disk',
    file: 'raft/dist/log/segmented-log.js',
    find: 'await this.supply.flushName(closing);',
    replace: ''
  },
  {
    name: 'a file is replaced without a flush of its folder',
    rule: 'a small file survives a power failure',
    file: 'store/dist/peer/durable.js',
    find: 'renameSync(temporary, path);\n        syncFolder(dirname(path));',
    replace: 'renameSync(temporary, path);'
  },
  {
    name: 'the log drops entries before LMDB has synced them',
    rule: 'storage.md, Checkpoints',
    file: 'store/dist/pages/lmdb-backend.js',
    find: 'overlappingSync: false',
    replace: 'overlappingSync: false, noSync: true'
  }
]
