/** Mutants of membership, transfers of leadership, snapshots, and the log on disk. */
import type { Mutant } from '../mutants/mutant.js'

export const MEMBERSHIP: readonly Mutant[] = [
  {
    name: 'a second change while one is pending',
    rule: 'thesis §4.1, scenario 15',
    file: 'core/membership.js',
    find: 'if (configurations.index > state.commit || isJoint(configuration)) {',
    replace: 'if (isJoint(configuration)) {'
  },
  {
    name: 'a change before the own term',
    rule: 'the bug of 2015, scenario 14',
    file: 'core/membership.js',
    find: 'if (!state.committedInTerm)',
    replace: 'if (false)'
  },
  {
    name: 'joint commit by the new majority only',
    rule: '§6, scenario 18',
    file: 'core/quorum.js',
    find: 'return Math.min(...majorities(configuration).map((voters) => indexOfMajority(voters, matchOf)));',
    replace: 'return indexOfMajority(configuration.voters, matchOf);'
  },
  {
    name: 'joint commit by the old majority only',
    rule: '§6, scenario 18',
    file: 'core/quorum.js',
    find: 'return Math.min(...majorities(configuration).map((voters) => indexOfMajority(voters, matchOf)));',
    replace: 'return indexOfMajority(majorities(configuration).at(-1), matchOf);'
  },
  {
    name: 'joint election by the new majority only',
    rule: '§6, scenario 18',
    file: 'core/quorum.js',
    find: 'const results = majorities(configuration).map((voters) => resultOf(voters, votes));',
    replace: 'const results = [resultOf(configuration.voters, votes)];'
  },
  {
    name: 'several voters changed in one step',
    rule: '§6, thesis §4.2.1',
    file: 'core/configuration.js',
    find: 'if (removed.length + added.length <= 1) {',
    replace: 'if (true) {'
  },
  {
    name: 'a joint configuration is not left',
    rule: '§6, scenario 20',
    file: 'core/leadership.js',
    find: 'if (isJoint(configuration))\n        appendConfiguration(state, leaveJoint(configuration), configurations.current.context);',
    replace: 'if (isJoint(configuration))\n        return;'
  },
  {
    name: 'a joint configuration is left at once',
    rule: '§6, scenario 18',
    file: 'core/leadership.js',
    find: 'if (configurations.index > state.commit)\n        return;',
    replace: ''
  },
  {
    name: 'a change counts when it is committed',
    rule: '§6',
    file: 'core/configuration.js',
    find: 'return this.known.at(-1)?.configuration ?? EMPTY_CONFIGURATION;',
    replace: 'return (this.known.at(-2) ?? this.known.at(-1))?.configuration ?? EMPTY_CONFIGURATION;'
  },
  {
    name: 'a learner is counted',
    rule: 'thesis §4.2.1, scenario 21',
    file: 'core/quorum.js',
    find: 'return outgoing.length > 0 ? [voters, outgoing] : [voters];',
    replace: 'return outgoing.length > 0 ? [voters, outgoing] : [[...voters, ...(arguments[0].learners ?? [])]];'
  },
  {
    name: 'a truncated change stays',
    rule: '§6, scenario 16',
    file: 'core/state.js',
    find: 'this.configurations.truncate(index);',
    replace: ''
  },
  {
    name: 'a removed leader stays',
    rule: '§6, scenario 19',
    file: 'core/leadership.js',
    find: 'else if (!configuration.voters.includes(state.id))\n        stepDown(state);',
    replace: ''
  },
  {
    name: 'a node with an empty log becomes a voter',
    rule: 'thesis §4.2.1',
    file: 'core/membership.js',
    find: 'if (empty !== undefined) {',
    replace: 'if (false) {'
  }
]

export const TRANSFER: readonly Mutant[] = [
  {
    name: 'a transfer takes proposals',
    rule: 'thesis §3.10, scenario 34',
    file: 'core/replication.js',
    find: 'if (transfer !== undefined)\n        return',
    replace: 'if (false)\n        return'
  },
  {
    name: 'a transfer to a node that lacks entries',
    rule: 'thesis §3.10, scenario 34',
    file: 'core/transfer.js',
    find: ' || state.progress.get(to)?.match !== state.log.lastIndex)',
    replace: ')'
  },
  {
    name: 'a transfer never ends',
    rule: 'thesis §3.10, scenario 34',
    file: 'core/leadership.js',
    find: 'if (state.transfer !== undefined && ++state.transfer.elapsed >= state.init.electionTicks) {',
    replace: 'if (false) {'
  },
  {
    name: 'a transfer waits for ever',
    rule: 'scenario 35',
    file: 'pending-transfer.js',
    find: 'reject(new TransferFailedError(to));',
    replace: 'return true;'
  },
  {
    name: "a deposed leader's transfer waits",
    rule: 'docs/raft.md, transfer',
    file: 'pending-transfer.js',
    find: 'const hasTimedOut = this.ticksWithoutLeader >= this.timeoutTicks;',
    replace: 'const hasTimedOut = false;'
  }
]

export const SNAPSHOTS: readonly Mutant[] = [
  {
    name: 'compaction ignores the snapshot',
    rule: '§7',
    file: 'node.js',
    find: 'const index = Math.min(snapshot.index, application.snapshots?.heldIndex ?? Infinity);',
    replace: 'const index = this.core.lastIndex;'
  },
  {
    name: 'a stale snapshot is installed',
    rule: 'scenario 23',
    file: 'core/snapshot-receiver.js',
    find: 'if (index <= state.commit || state.log.matches(index, term)) {',
    replace: 'if (index < 0) {'
  },
  {
    name: 'pieces in any order',
    rule: 'scenario 27',
    file: 'core/snapshot-receiver.js',
    find: 'if (offset !== incomingSnapshot.offset) {',
    replace: 'if (false) {'
  },
  {
    name: 'a torn piece is stored',
    rule: 'scenario 27',
    file: 'node.js',
    find: "if (message.type === 'snapshot' && crc32c(message.data) !== message.crc)",
    replace: 'if (false)'
  },
  {
    name: 'the log stays after an installation',
    rule: '§7, scenario 24',
    file: 'core/state.js',
    find: 'log.reset(snapshot);',
    replace: ''
  },
  {
    name: 'a snapshot without its configuration',
    rule: '§7, scenario 26',
    file: 'core/snapshot-receiver.js',
    find: 'state.configurations.reset(snapshot.configuration);',
    replace: ''
  },
  {
    name: 'a snapshot names the newest configuration',
    rule: '§7, scenario 26',
    file: 'core/core.js',
    find: 'configuration: configurations.entryAt(index) };',
    replace: 'configuration: configurations.entryAt(Infinity) };'
  },
  {
    name: 'applying while a snapshot is installed',
    rule: 'scenario 23',
    file: 'core/ready-queue.js',
    find: 'if (state.installing !== undefined || state.unreadable)',
    replace: 'if (state.unreadable)'
  },
  {
    name: 'a snapshot that is gone is waited for',
    rule: 'scenario 28',
    file: 'core/snapshot-sender.js',
    find: "outgoingSnapshot.piece = 'none';\n        outgoingSnapshot.offset = 0;\n        if (state.snapshot !== snapshot)\n            beginSnapshot(state, to, progress);",
    replace: ''
  }
]

export const STORAGE: readonly Mutant[] = [
  {
    name: 'a log acknowledges before it writes',
    rule: 'scenario 5',
    file: 'log/segmented-log.js',
    find: 'await file.write(this.offset, batch);',
    replace: 'void file.write(this.offset, batch).catch(() => { });'
  },
  {
    name: 'damage taken for a torn tail',
    rule: 'scenario 39',
    file: 'log/batch.js',
    find: "{ kind: 'torn' } : { kind: 'damaged', reason: 'bad batch checksum' };",
    replace: "{ kind: 'torn' } : { kind: 'torn' };"
  },
  {
    name: 'a torn tail taken for damage',
    rule: 'scenario 39',
    file: 'log/batch.js',
    find: 'if (written === 1 && isZero(area, sector))\n            return true;',
    replace: ''
  },
  {
    name: 'a torn tail cut too far',
    rule: 'scenario 39',
    file: 'log/recovery.js',
    find: 'const end = lastNonZero(bytes, this.offset);',
    replace:
      'let end = lastNonZero(bytes, this.offset);\n        if (end > this.offset && this.lastBatch > segment.start) {\n            this.offset = this.lastBatch;\n            end = lastNonZero(bytes, this.offset);\n        }'
  },
  {
    name: 'a torn tail stays',
    rule: 'scenario 39',
    file: 'log/recovery.js',
    find: 'for (let at = this.offset; at < end; at += MAX_ZERO_WRITE_BYTES) {',
    replace: 'for (let at = end; at < end; at += MAX_ZERO_WRITE_BYTES) {'
  },
  {
    name: 'a base leaves configurations out',
    rule: 'recovery',
    file: 'log/log-history.js',
    find: 'configurations: this.configs.filter(isBetween)',
    replace: 'configurations: []'
  },
  {
    name: 'a base leaves terms out',
    rule: 'recovery',
    file: 'log/log-history.js',
    find: 'terms: this.terms.filter(isBetween)',
    replace: 'terms: []'
  },
  {
    name: 'what was read is taken for durable',
    rule: 'recovery',
    file: 'log/recovery.js',
    find: 'await this.makeDurable(file);',
    replace: ''
  },
  {
    name: "a segment's name is not flushed",
    rule: 'Disk',
    file: 'log/segmented-log.js',
    find: 'await this.supply.flushName(closing);',
    replace: ''
  },
  {
    name: 'compaction drops one segment too many',
    rule: '§7',
    file: 'log/segmented-log.js',
    find: 'this.segments.findLastIndex(({ firstIndex }) => firstIndex - 1 <= end)',
    replace: 'this.segments.findLastIndex(({ firstIndex }) => firstIndex - 2 <= end)'
  }
]
