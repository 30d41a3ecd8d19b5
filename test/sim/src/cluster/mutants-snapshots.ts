/** Mutants of snapshots and compaction. Raft's own rules for them are among the mutants of the simulation of Raft. */
import type { Mutant } from '../mutants/mutant.js'

const TRANSFERS = 'store/dist/pages/snapshot-transfers.js'
const RECEIVER = 'store/dist/pages/snapshot-receiver.js'
const PIECES = 'store/dist/pages/snapshot-pieces.js'
const WRITER = 'store/dist/pages/snapshot-writer.js'
const PAGES = 'store/dist/pages/page-store.js'
const APPLIER = 'store/dist/pages/applier.js'
const REPLICA = 'store/dist/peer/replica.js'
const GROUP = 'store/dist/peer/group.js'
const NODE = 'raft/dist/node.js'

const SENDING = 'docs/storage.md, Sending'
const RECEIVING = 'docs/storage.md, Receiving'
const AHEAD = 'docs/storage.md, A page store ahead'
const BOUNDS = 'docs/storage.md, Bounds'

export const SNAPSHOT_MUTANTS: readonly Mutant[] = [
  {
    name: 'an installation leaves no record',
    rule: AHEAD,
    file: WRITER,
    find: "this.pending.push({ table: 'records', key: INSTALLED_KEY, value });",
    replace: ''
  },
  {
    name: 'a start keeps the record of an installation',
    rule: AHEAD,
    file: REPLICA,
    find: 'await applier.forgetInstalled();',
    replace: ''
  },
  {
    name: 'a checkpoint keeps the record of an installation',
    rule: AHEAD,
    file: PAGES,
    find: 'if (this.isOutdated(appliedIndex))\n            yield FORGET_INSTALLED;',
    replace: ''
  },
  {
    name: 'the record of an installation goes before the log starts anew',
    rule: AHEAD,
    file: REPLICA,
    find: 'if (installed.index >= log.firstIndex)\n        await startAfter',
    replace: 'await applier.forgetInstalled();\n    if (installed.index >= log.firstIndex)\n        await startAfter'
  },
  {
    name: 'an interrupted installation is not completed',
    rule: 'docs/raft.md, Snapshots',
    file: REPLICA,
    find: 'await startAfter(log, installed);',
    replace: ';'
  },
  {
    name: 'a log that follows its snapshot starts anew',
    rule: 'docs/raft.md, Snapshots',
    file: REPLICA,
    find: 'if (installed.index >= log.firstIndex)\n',
    replace: '',
    and: [{ file: REPLICA, find: 'if (log.term(installed.index) === installed.term)\n        return;', replace: '' }]
  },
  {
    name: "a snapshot is sent under another one's index",
    rule: SENDING,
    file: TRANSFERS,
    find: 'if (reader.index !== index) {',
    replace: 'if (false) {',
    and: [
      {
        file: TRANSFERS,
        find: 'if (transfer?.reader.index !== index)\n            return undefined;',
        replace: 'if (transfer === undefined)\n            return undefined;'
      },
      { file: PIECES, find: 'if (this.appliedIndex !== this.index) {', replace: 'if (false) {' }
    ]
  },
  {
    name: 'a view shows later commits',
    rule: 'docs/storage.md, Backends',
    file: 'store/dist/pages/memory-backend.js',
    find: 'new Map(this.readable(table))',
    replace: 'this.readable(table)'
  },
  {
    name: 'an incomplete snapshot is installed',
    rule: RECEIVING,
    file: WRITER,
    find: 'this.pieces.checkComplete();',
    replace: ''
  },
  {
    name: 'a damaged piece is left out',
    rule: RECEIVING,
    file: RECEIVER,
    find: 'incoming.damage = error;',
    replace: '',
    and: [
      { file: PIECES, find: 'if (found.records !== records || found.pages !== pages) {', replace: 'if (false) {' },
      { file: PIECES, find: 'if (found.crc !== crc)', replace: 'if (false)' }
    ]
  },
  {
    name: 'damaged rows are installed',
    rule: RECEIVING,
    file: PIECES,
    find: 'checkPage(this.name, found.key, found.head, found.body);',
    replace: '',
    and: [
      { file: PIECES, find: 'checkRecord(this.name, found.key, found.value);', replace: '' },
      { file: PIECES, find: 'if (found.crc !== crc)', replace: 'if (false)' }
    ]
  },
  {
    name: 'the state machine stays after an adoption',
    rule: RECEIVING,
    file: APPLIER,
    find: 'this.state.reset(this.store.restored);',
    replace: ''
  },
  {
    name: 'changes of the former state stay after an adoption',
    rule: RECEIVING,
    file: PAGES,
    find: 'this.backend = await adopt();\n        this.active = new Memtable();',
    replace: 'this.backend = await adopt();'
  },
  {
    name: 'an adoption does not wait for a checkpoint',
    rule: RECEIVING,
    file: APPLIER,
    find: 'this.stopWaiting();\n        await this.running;\n        this.refuseWhenStopped();',
    replace: 'this.stopWaiting();'
  },
  {
    name: 'an installed configuration is not followed',
    rule: 'docs/raft.md, Timing',
    file: GROUP,
    find: 'if (config !== undefined)\n            this.init.onConfig(config);',
    replace: ''
  },
  {
    name: 'the log drops what follows a snapshot that is sent',
    rule: SENDING,
    file: NODE,
    find: 'application.snapshots?.heldIndex ?? Infinity',
    replace: 'Infinity'
  },
  {
    name: 'the log drops entries that no checkpoint holds',
    rule: BOUNDS,
    file: NODE,
    find: 'const index = Math.min(snapshot.index, ',
    replace: 'const index = Math.min(this.core.appliedIndex, '
  },
  {
    name: 'the log drops nothing',
    rule: BOUNDS,
    file: GROUP,
    find: 'node.snapshotTaken(node.snapshotMeta(index), this.isDiskLow ? 0 : undefined);',
    replace: ''
  },
  {
    name: 'a transfer outlives its follower',
    rule: BOUNDS,
    file: TRANSFERS,
    find: 'if (reason !== undefined)\n                this.end(to, reason);',
    replace: ''
  },
  {
    name: 'a start follows a configuration that is not committed',
    rule: 'docs/membership.md, The configuration',
    file: REPLICA,
    find: 'filter(({ index }) => index <= commit)',
    replace: 'slice()'
  },
  {
    name: 'entries that give way to a snapshot are called committed',
    rule: 'docs/identity.md, Evidence',
    file: 'store/dist/peer/log-evidence.js',
    find: 'lastTerm: node.term(index) ?? 0',
    replace: 'lastTerm: this.log.term(index) ?? 0'
  }
]
