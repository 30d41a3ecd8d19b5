/** Mutants of elections, replication and reads. */
import type { Mutant } from '../mutants/mutant.js'

export const ELECTIONS: readonly Mutant[] = [
  {
    name: 'ticks of another length are never taken',
    rule: 'docs/raft.md, Timing',
    file: 'node.js',
    find: 'this.tickMs = this.nextTick.ms;',
    replace: ''
  },
  {
    name: 'an election time-out shorter than a heartbeat',
    rule: 'docs/raft.md, Timing',
    file: 'core/state.js',
    find: 'this.electionTimeout = electionTicks + Math.floor(random() * electionTicks);',
    replace: 'this.electionTimeout = 1 + Math.floor(random() * (this.init.heartbeatTicks - 1));'
  },
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
    find: 'if (state.promotable)\n        preCampaign(state);',
    replace: 'if (state.promotable)\n        campaign(state, false);'
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
    find: 'checkQuorum(state);\n        if',
    replace: 'if'
  },
  {
    name: 'an append of a lower term is taken',
    rule: '§5.1',
    file: 'core/core.js',
    find: 'if (message.term < state.term)\n            return this.refuseStale(from, message);',
    replace:
      "if (message.term < state.term && message.type === 'append')\n            return handleAppend(state, from, message);\n        if (message.term < state.term)\n            return this.refuseStale(from, message);"
  },
  {
    name: 'a lower term is not answered',
    rule: 'scenario 11',
    file: 'core/core.js',
    find: "state.sendAfterWrite(from, { type: 'heartbeatReply', term, round: message.round, room: roomOf(state) });",
    replace: ''
  }
]

export const REPLICATION: readonly Mutant[] = [
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
    find: 'progress.becomeProbe();',
    replace: ''
  },
  {
    name: 'settled bytes stay counted',
    rule: 'scenario 38',
    file: 'core/replication.js',
    find: 'state.uncommitted.releaseUpTo(Math.min(state.commit, state.log.durableIndex));',
    replace: ''
  },
  {
    name: 'applied before the own flush',
    rule: 'scenario 6; RaftCore, duty 5',
    file: 'core/ready-queue.js',
    find: 'const end = Math.min(state.commit, state.log.durableIndex);\n        if (state.applying',
    replace: 'const end = state.commit;\n        if (state.applying'
  }
]

export const READS: readonly Mutant[] = [
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
