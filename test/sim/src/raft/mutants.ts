/** Rules of Raft, each taken away by a patch of one place of the built package: a simulation that does not notice is worth nothing. */
export interface Mutant {
  readonly name: string
  /** The rule, with its section or scenario. */
  readonly rule: string
  /** Below packages/raft/dist. */
  readonly file: string
  /** Stands there exactly once. */
  readonly find: string
  readonly replace: string
}

const ELECTIONS: readonly Mutant[] = [
  {
    name: 'vote not durable before its reply',
    rule: 'Figure 2, scenario 3',
    file: 'core/election.js',
    find: "state.sendAfterWrite(from, { type: 'voteReply', term: state.term, granted });",
    replace: "state.send(from, { type: 'voteReply', term: state.term, granted });"
  },
  {
    name: 'vote twice',
    rule: '§5.2',
    file: 'core/election.js',
    find: 'const free = state.vote === from || (state.vote === undefined && state.leader === undefined);',
    replace: 'const free = true;'
  },
  {
    name: 'own vote counted before its flush',
    rule: 'scenario 8',
    file: 'core/election.js',
    find: 'state.sendAfterWrite(id, request);',
    replace: 'state.send(id, request);\n    countVote(state, state.id, true);'
  },
  {
    name: 'vote forgotten by a crash',
    rule: 'Figure 2, scenario 3',
    file: 'core/state.js',
    find: 'this.vote = hardState.vote;',
    replace: 'this.vote = undefined;'
  },
  {
    name: 'no election restriction',
    rule: '§5.4.1',
    file: 'core/election.js',
    find: 'const granted = message.term === state.term && free && mayVote(state) && isUpToDate;',
    replace: 'const granted = message.term === state.term && free && mayVote(state);'
  },
  {
    name: 'pre-vote without restriction',
    rule: 'thesis §9.6, scenario 10',
    file: 'core/election.js',
    find: ' && mayVote(state) && state.log.isUpToDate(lastIndex, lastTerm);',
    replace: ' && mayVote(state);'
  },
  {
    name: 'stale pre-vote counted',
    rule: 'thesis §9.6, scenario 9',
    file: 'core/election.js',
    find: '(!granted || term === state.term + 1)',
    replace: 'true'
  },
  {
    name: 'pre-vote raises the term',
    rule: 'thesis §9.6, scenario 10',
    file: 'core/core.js',
    find: "if (message.type === 'requestPreVote')\n            return handleRequestPreVote(state, from, message);",
    replace:
      "if (message.type === 'requestPreVote' && message.term > state.term)\n            state.becomeFollower(message.term - 1 > state.term ? message.term - 1 : message.term, undefined);\n        if (message.type === 'requestPreVote')\n            return handleRequestPreVote(state, from, message);"
  },
  {
    name: 'stands without pre-vote',
    rule: 'thesis §9.6, scenario 10',
    file: 'core/election.js',
    find: 'if (state.mayStand)\n        preCampaign(state);',
    replace: 'if (state.mayStand)\n        campaign(state, false);'
  },
  {
    name: 'less than a majority elects',
    rule: '§5.2',
    file: 'core/quorum.js',
    find: "if (granted >= majority(voters))\n        return 'won';",
    replace: "if (granted >= Math.ceil(voters.length / 2))\n        return 'won';"
  },
  {
    name: 'lease kept after a transfer',
    rule: 'thesis §4.2.3, scenario 34',
    file: 'core/election.js',
    find: "if (message.type === 'requestVote' && message.transfer)\n        return false;",
    replace: ''
  },
  {
    name: 'a removed voter never stands',
    rule: 'thesis §4.2.2',
    file: 'core/state.js',
    find: 'return this.configurations.since(this.commit).some((each) => isVoter(each, this.id));',
    replace: 'return isVoter(this.configuration, this.id);'
  },
  {
    name: 'no check of the quorum',
    rule: 'thesis §6.2, scenario 12',
    file: 'core/leadership.js',
    find: 'checkQuorum(state);\n    if',
    replace: 'if'
  },
  {
    name: 'a lower term is not answered',
    rule: 'scenario 11',
    file: 'core/core.js',
    find: "state.sendAfterWrite(from, { type: 'heartbeatReply', term, round: message.round });",
    replace: ''
  }
]

const REPLICATION: readonly Mutant[] = [
  {
    name: 'own entry counted before its flush',
    rule: 'thesis §10.2.1, scenario 6',
    file: 'core/replication.js',
    find: 'id === state.id ? state.log.durableIndex :',
    replace: 'id === state.id ? state.log.lastIndex :'
  },
  {
    name: 'an earlier term committed by counting',
    rule: '§5.4.2, Figure 8, scenario 1',
    file: 'core/replication.js',
    find: 'if (index > state.commit && state.log.term(index) === state.term)',
    replace: 'if (index > state.commit)'
  },
  {
    name: 'less than a majority commits',
    rule: '§5.3',
    file: 'core/quorum.js',
    find: 'return matches[majority(voters) - 1] ?? 0;',
    replace: 'return matches[Math.max(0, majority(voters) - 2)] ?? 0;'
  },
  {
    name: 'acknowledged before the flush',
    rule: '§5.3, scenario 5',
    file: 'core/follower.js',
    find: "state.sendAfterWrite(to, {\n        type: 'appendReply',",
    replace: "state.send(to, {\n        type: 'appendReply',"
  },
  {
    name: 'sent before the write is durable',
    rule: 'Figure 2, scenarios 3 and 5',
    file: 'node.js',
    find: 'this.writes.push({ ack: write.ack, messages: [...messagesAfter] });',
    replace: 'this.writes.push({ ack: write.ack, messages: [] });\n        this.send(messagesAfter);'
  },
  {
    name: 'a late append truncates',
    rule: 'Figure 2, step 3, scenario 29',
    file: 'core/follower.js',
    find: 'if (entry.index < log.firstIndex || log.matches(entry.index, entry.term))',
    replace: 'if (entry.index < log.firstIndex || entry.index <= commit)'
  },
  {
    name: 'the previous entry is not compared',
    rule: '§5.3',
    file: 'core/follower.js',
    find: 'if (prevIndex > commit && !log.matches(prevIndex, prevTerm)) {',
    replace: 'if (prevIndex > log.lastIndex) {'
  },
  {
    name: "a heartbeat's commit is not capped",
    rule: 'scenario 30',
    file: 'core/replication.js',
    find: 'const commit = Math.min(progress.match, state.commit);',
    replace: 'const commit = state.commit;'
  },
  {
    name: 'late acknowledgement of storage',
    rule: 'scenario 7',
    file: 'core/log-view.js',
    find: 'for (const write of this.writes)\n            write.index = Math.min(write.index, index - 1);',
    replace: ''
  },
  {
    name: 'a refusal leads nowhere',
    rule: '§5.3, scenario 2',
    file: 'core/progress.js',
    find: 'this.next = Math.max(Math.min(index, hint + 1), this.match + 1);',
    replace: ''
  },
  {
    name: 'nothing is sent again',
    rule: 'scenario 37',
    file: 'core/replication.js',
    find: "else if (progress.mode === 'replicate')\n        sendEmptyAppend(state, from, progress);",
    replace: ''
  },
  {
    name: 'a dropped entry is waited for',
    rule: 'scenarios 25 and 37',
    file: 'core/replication.js',
    find: 'progress.backToMatch();',
    replace: ''
  },
  {
    name: 'settled bytes stay counted',
    rule: 'scenario 38',
    file: 'core/replication.js',
    find: 'state.uncommittedBytes -= state.proposals[count].bytes;',
    replace: ''
  },
  {
    name: 'applied before the own flush',
    rule: 'Ready, step 4',
    file: 'core/core.js',
    find: 'const end = Math.min(state.commit, state.log.durableIndex);\n        if (state.applying',
    replace: 'const end = state.commit;\n        if (state.applying'
  }
]

const READS: readonly Mutant[] = [
  {
    name: 'a read without a round',
    rule: '§8, scenario 32',
    file: 'core/read-index.js',
    find: 'hasQuorum(configuration, (id) => this.rounds[0].confirmed.has(id))',
    replace: 'true'
  },
  {
    name: 'a read before the own term',
    rule: '§8, scenario 31',
    file: 'core/core.js',
    find: 'if (state.reads.hasWaiting && state.committedInTerm) {',
    replace: 'if (state.reads.hasWaiting) {'
  },
  {
    name: 'a stale round confirms a read',
    rule: 'thesis §6.4, scenario 32',
    file: 'core/read-index.js',
    find: 'if (open.number <= round)',
    replace: 'if (round >= 0)'
  },
  {
    name: 'reads kept after stepping down',
    rule: 'scenarios 32 and 35',
    file: 'node.js',
    find: 'if (ready.softState !== undefined)\n            this.reads.rejectAll(() => this.notLeader());',
    replace: ''
  },
  {
    name: 'a read before its entry is applied',
    rule: '§8',
    file: 'pending-reads.js',
    find: 'this.confirmed[count].index <= index',
    replace: 'true'
  }
]

const MEMBERSHIP: readonly Mutant[] = [
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
    find: 'if (gone.length + come.length <= 1) {',
    replace: 'if (true) {'
  },
  {
    name: 'a joint configuration is not left',
    rule: '§6, scenario 20',
    file: 'core/leadership.js',
    find: 'if (isJoint(configuration))\n        appendConfiguration(state, left(configuration), configurations.current.context);',
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
    find: "return this.known.at(-1)?.configuration ?? NOBODY;",
    replace: "return (this.known.at(-2) ?? this.known.at(-1))?.configuration ?? NOBODY;"
  },
  {
    name: 'a learner is counted',
    rule: 'thesis §4.2.1, scenario 21',
    file: 'core/quorum.js',
    find: 'return outgoing.length > 0 ? [voters, outgoing] : [voters];',
    replace:
      'return outgoing.length > 0 ? [voters, outgoing] : [[...voters, ...(arguments[0].learners ?? [])]];'
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
    name: 'who has nothing votes',
    rule: 'scenario 22',
    file: 'core/election.js',
    find: 'return state.configuration.voters.length > 0;',
    replace: 'return true;'
  }
]

const TRANSFER: readonly Mutant[] = [
  {
    name: 'a transfer takes proposals',
    rule: 'thesis §3.10, scenario 34',
    file: 'core/replication.js',
    find: 'if (transfer !== undefined)\n        return',
    replace: 'if (false)\n        return'
  },
  {
    name: 'a transfer to who lacks entries',
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
  }
]

const SNAPSHOTS: readonly Mutant[] = [
  {
    name: 'compaction ignores the snapshot',
    rule: '§7',
    file: 'node.js',
    find: 'const index = snapshot.index - this.limits.retainedEntries;',
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
    name: 'an overtaken snapshot is installed',
    rule: 'scenario 23',
    file: 'core/snapshot-receiver.js',
    find: 'if (installing.snapshot.index <= applied) {',
    replace: 'if (false) {'
  },
  {
    name: 'pieces in any order',
    rule: 'scenario 27',
    file: 'core/snapshot-receiver.js',
    find: 'if (offset !== incoming.offset) {',
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
    file: 'core/core.js',
    find: 'if (state.installing !== undefined)\n            return [];',
    replace: ''
  },
  {
    name: 'a snapshot that is gone is waited for',
    rule: 'scenario 28',
    file: 'core/snapshot-sender.js',
    find: "transfer.piece = 'none';\n        transfer.offset = 0;\n        if (state.snapshot !== snapshot)\n            beginSnapshot(state, to, progress);",
    replace: ''
  }
]

const STORAGE: readonly Mutant[] = [
  {
    name: 'a log acknowledges before it writes',
    rule: 'scenario 5',
    file: 'log/segmented-log.js',
    find: 'await current.file.write(this.offset, batch);',
    replace: 'void current.file.write(this.offset, batch).catch(() => { });'
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
      'let end = lastNonZero(bytes, this.offset);\n        if (end > this.offset && isLast && this.lastBatch > SEGMENT_HEADER_BYTES) {\n            this.offset = this.lastBatch;\n            end = lastNonZero(bytes, this.offset);\n        }'
  },
  {
    name: 'a torn tail stays',
    rule: 'scenario 39',
    file: 'log/recovery.js',
    find: 'for (let at = this.offset; at < end; at += MAX_ZERO_WRITE_BYTES) {',
    replace: 'for (let at = end; at < end; at += MAX_ZERO_WRITE_BYTES) {'
  },
  {
    name: 'what was read is taken for durable',
    rule: 'recovery',
    file: 'log/recovery.js',
    find: 'await this.makeDurable();',
    replace: ''
  },
  {
    name: "a segment's name is not flushed",
    rule: 'Disk',
    file: 'log/segment-supply.js',
    find: 'await this.disk.rename(SPARE, name);\n            await this.disk.flushDirectory();',
    replace: 'await this.disk.rename(SPARE, name);'
  },
  {
    name: 'compaction drops one segment too many',
    rule: '§7',
    file: 'log/segmented-log.js',
    find: 'this.segments.findLastIndex(({ firstIndex }) => firstIndex - 1 <= index)',
    replace: 'this.segments.findLastIndex(({ firstIndex }) => firstIndex - 2 <= index)'
  }
]

export const MUTANTS: readonly Mutant[] = [
  ...ELECTIONS,
  ...REPLICATION,
  ...READS,
  ...MEMBERSHIP,
  ...TRANSFER,
  ...SNAPSHOTS,
  ...STORAGE
]
