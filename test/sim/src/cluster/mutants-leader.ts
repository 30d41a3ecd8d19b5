/** Mutants of the leader's rules: directory, leases, session server. */
import type { Change, Mutant } from '../mutants/mutant.js'

const OPERATIONS = 'store/dist/directory/page-operations.js'
const DISCARDS = 'store/dist/directory/discard-operations.js'
const MESSAGES = 'store/dist/directory/page-messages.js'
const LEADERSHIP = 'store/dist/server/leadership.js'
const LEASES = 'store/dist/server/leases.js'

/** Without it, a leader notices soon that it has no majority, and does little harm. */
const NO_CHECK_OF_QUORUM: Change = {
  file: 'raft/dist/core/leadership.js',
  find: 'checkQuorum(state);\n        if (state.role',
  replace: 'if (state.role'
}

export const LEADER_MUTANTS: readonly Mutant[] = [
  {
    name: 'an answer without bytes counts for the first page of its run',
    rule: 'docs/coherence.md, Runs',
    file: 'store/dist/directory/directory.js',
    find: 'this.pages.ownerAnswered(session, message.op + i, undefined, message.held);',
    replace:
      'if (i === 0)\n                        this.pages.ownerAnswered(session, message.op + i, undefined, message.held);'
  },
  {
    name: 'bytes count for the first page of their run',
    rule: 'docs/coherence.md, Runs',
    file: 'store/dist/directory/directory.js',
    find: 'for (const [i, dirty] of message.pages.entries())',
    replace: 'for (const [i, dirty] of message.pages.slice(0, 1).entries())'
  },
  {
    name: 'the outcomes of a handover count for its first page',
    rule: 'docs/coherence.md, Runs',
    file: 'store/dist/directory/directory.js',
    find: 'this.pages.handoverApplied(file, page + i, done);',
    replace: 'this.pages.handoverApplied(file, page, done);'
  },
  {
    name: 'an acknowledgment of a run counts for its first page',
    rule: 'docs/coherence.md, Runs',
    file: 'store/dist/directory/directory.js',
    find: 'this.pages.invalidated(session, message.op + i);',
    replace: 'if (i === 0)\n                        this.pages.invalidated(session, message.op + i);'
  },
  {
    name: 'a peer keeps its own timing',
    rule: 'docs/raft.md, Timing',
    file: 'store/dist/peer/peer-core.js',
    find: 'for (const group of this.groups.values())\n            group.node?.setTickMs(this.timing.tickMs);',
    replace: ''
  },
  {
    name: 'an election time-out of one round trip',
    rule: 'docs/raft.md, Timing',
    file: 'protocol/dist/round-trip.js',
    find: 'const ELECTION_ROUND_TRIPS = 10;',
    replace: 'const ELECTION_ROUND_TRIPS = 1;'
  },
  {
    name: 'the steps of a handshake have a limit that follows nothing',
    rule: 'docs/raft.md, Timing',
    file: 'protocol/dist/round-trip.js',
    find: 'stepMs: STEP_ROUND_TRIPS * clientRoundTripMs,',
    replace: 'stepMs: 500,'
  },
  {
    name: 'the leader serves before its no-op is applied',
    rule: 'rule 1',
    file: 'store/dist/server/group-server.js',
    find: "role === 'leader' && ready && ",
    replace: "role === 'leader' && "
  },
  {
    name: 'grants do not name the newest discard',
    rule: 'files that shrink',
    file: 'store/dist/directory/directory-state.js',
    find: 'this.newestDiscards.set(file, op);',
    replace: ''
  },
  {
    name: 'a writeback overtakes one that is held back',
    rule: 'whole files as the unit',
    file: 'store/dist/directory/pending-writebacks.js',
    find: ' || this.isHeld(session, file)',
    replace: ''
  },
  {
    name: 'grant before all invalidations are acknowledged',
    rule: 'rule 8',
    file: OPERATIONS,
    find: "if (operation.entry !== 'done' || operation.invalidating.size > 0)",
    replace: "if (operation.entry !== 'done')"
  },
  {
    name: 'an invalidation is never sent',
    rule: 'rule 8',
    file: OPERATIONS,
    find: 'operation.invalidating.add(session);',
    replace: ';'
  },
  {
    name: 'reader admitted while a write is pending',
    rule: 'rule 5',
    file: OPERATIONS,
    find: 'entry.push(fault);',
    replace:
      "if (entry.operation?.kind === 'write' && this.isReadable(entry, fault))\n            return this.messages.grant(entry, { request: fault, turn: entry.turns }, 'read');\n        entry.push(fault);"
  },
  {
    name: 'reader not in the copyset when its grant is sent',
    rule: 'rule 6',
    file: MESSAGES,
    find: 'entry.granted(request, ',
    replace: "if (isOwner || access === 'write')\n            entry.granted(request, "
  },
  {
    name: 'a dropped copy takes those of others with it',
    rule: 'docs/coherence.md, Dropped copies',
    file: 'store/dist/directory/page-entries.js',
    find: 'if (kept.session !== session)\n                return;',
    replace: ';',
    and: [
      { file: 'store/dist/directory/page-entries.js', find: 'kept.drop(session);', replace: 'kept.forgetOthers(0);' }
    ]
  },
  {
    name: 'copyset forgotten on failover',
    rule: 'rule 2',
    file: 'store/dist/directory/page-entries.js',
    find: 'this.state.inheritors(fileId)',
    replace: '[]'
  },
  {
    name: 'handover without bytes',
    rule: 'rule 8',
    file: OPERATIONS,
    find: 'const pages = [dirty && { seq: dirty.seq, ranges: dirty.ranges, bytes: dirty.bytes }];',
    replace: 'const pages = [undefined];'
  },
  {
    name: 'handover before the owner has answered',
    rule: 'rule 8',
    file: OPERATIONS,
    find: 'if (!this.hasOwnerAnswered(entry, operation))\n            return;',
    replace: 'this.hasOwnerAnswered(entry, operation);'
  },
  {
    name: "readers granted before a downgraded owner's bytes are committed",
    rule: 'rule 7',
    file: OPERATIONS,
    find: "this.state.propose({ type: 'writeback', session: asked, pages: [dirty] });\n            return;",
    replace: "this.state.propose({ type: 'writeback', session: asked, pages: [dirty] });"
  },
  {
    name: 'a downgrade lasts for ever',
    rule: 'rule 7',
    file: 'store/dist/directory/page-entry.js',
    find: 'this.downgradedEpoch = 0;\n    }\n    begin',
    replace: '}\n    begin'
  },
  {
    name: 'orders not repeated on a new connection',
    rule: 'rule 9',
    file: OPERATIONS,
    find: 'askAgain(session) {',
    replace: 'askAgain(session) {\n        return;'
  },
  {
    name: 'orders do not name the grant that they follow',
    rule: 'rule 4',
    file: MESSAGES,
    find: 'const after = copy !== undefined',
    replace: 'const after = false && copy !== undefined'
  },
  {
    name: 'a session that has gone is waited for',
    rule: 'rule 8',
    file: OPERATIONS,
    find: 'operation.invalidating.delete(session);\n            if (operation.asked === session)\n                operation.answered = true;',
    replace: ''
  },
  {
    name: 'discard does not wait for the clients',
    rule: 'files that shrink, 3',
    file: DISCARDS,
    find: 'discard.unanswered.size > 0 || ',
    replace: ''
  },
  {
    name: "the cut page's owner is not asked for its bytes",
    rule: 'files that shrink, 2',
    file: DISCARDS,
    find: 'if (recalledPage !== undefined)',
    replace: 'if (false)'
  },
  {
    name: 'faults of a range do not wait for its discard',
    rule: 'files that shrink, 1',
    file: DISCARDS,
    find: 'hold(fault) {',
    replace: 'hold(fault) {\n        return false;'
  },
  {
    name: 'discard begins while its range is busy',
    rule: 'files that shrink, 1',
    file: OPERATIONS,
    find: 'isBusy(file, first, end) {',
    replace: 'isBusy(file, first, end) {\n        return false;'
  },
  {
    name: 'discard not ordered again on a new connection',
    rule: 'rule 9',
    file: DISCARDS,
    find: 'askAgain(session) {',
    replace: 'askAgain(session) {\n        return;'
  },
  {
    name: 'the end of a discard is not told',
    rule: 'files that shrink, 4',
    file: DISCARDS,
    find: "this.state.send(session, { type: 'discarded', term: this.state.term, op, file, committed });",
    replace: ''
  },
  {
    name: 'keep-alive without quorum',
    rule: 'leases',
    file: LEADERSHIP,
    find: 'this.rounds.confirm(connection, (confirmed) => this.init.guard(() => {\n            connection.keepAliveSettled();',
    replace:
      '((_, then) => then(true))(connection, (confirmed) => this.init.guard(() => {\n            connection.keepAliveSettled();',
    and: [NO_CHECK_OF_QUORUM]
  },
  {
    name: 'registering again without quorum',
    rule: 'leases',
    file: 'store/dist/server/registrations.js',
    find: 'rounds.confirm(connection, (confirmed) => guard(',
    replace: '((_, then) => then(true))(connection, (confirmed) => guard(',
    and: [NO_CHECK_OF_QUORUM]
  },
  {
    name: 'a session is expired before its client stops',
    rule: 'rule 11',
    file: LEASES,
    find: 'lease.deadlineMs = Math.max(lease.deadlineMs, nowMs + lease.ttlMs);',
    replace: 'lease.deadlineMs = Math.max(lease.deadlineMs, nowMs + lease.ttlMs * 0.7);'
  },
  {
    name: 'a new leader gives less than a full lease',
    rule: 'leases',
    file: LEASES,
    find: 'for (const session of sessions)\n            this.opened(session, nowMs);',
    replace:
      'for (const session of sessions)\n            this.opened({ ...session, ttlMs: session.ttlMs / 8 }, nowMs);'
  },
  {
    name: 'the leader sends page bytes whatever the line carries',
    rule: 'thin lines',
    file: 'store/dist/server/lane.js',
    find: 'this.window?.hasRoom(frame.length) !== false',
    replace: 'true'
  },
  {
    name: 'the window does not shrink',
    rule: 'thin lines',
    file: 'protocol/dist/bulk-window.js',
    find: 'this.window = Math.min(this.window, Math.floor((inFlight * limitMs) / delayMs));',
    replace: 'this.window += bytes;'
  },
  {
    name: 'opening tells a size that a discard is about to take',
    rule: 'files that shrink',
    file: 'store/dist/server/request-handler.js',
    find: 'if (!this.init.directory.isDiscarding(outcome.stat.id))',
    replace: 'if (true)'
  },
  {
    name: 'a file is named before that is in the log',
    rule: 'names',
    file: 'store/dist/server/request-handler.js',
    find: 'proposals.add({ ...message, session: connection.session });',
    replace:
      "if (message.type === 'link')\n            answer(connection, message.seq, { type: 'done', seq: message.seq });\n        proposals.add({ ...message, session: connection.session });"
  }
]
