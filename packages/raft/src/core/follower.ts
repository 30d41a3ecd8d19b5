/**
 * Replication, the follower's half (Figure 2, AppendEntries; §5.3). The sender is the leader of this node's term, as
 * `step` has checked.
 */
import type { RaftMessageOf } from '@quire/protocol'
import { roomOf } from './room.js'
import type { CoreState } from './state.js'

/** AppendEntries, receiver (Figure 2). */
export function handleAppend(state: CoreState, from: string, message: RaftMessageOf<'append'>): void {
  const { term, log, commit } = state
  const { prevIndex, prevTerm, entries } = message
  if (!isWellFormed(message)) return
  const last = prevIndex + entries.length
  // Storage cannot take these entries now. Some may be in memory already, given back by storage, and an acknowledgment
  // could not name them. So this append counts as lost. The leader sends it again no sooner than its next heartbeat,
  // whose answer tells it to wait. Any answer, a refusal included, would make the leader send at once.
  if (state.isFull && entries.length > 0 && last > log.writtenIndex) return
  if (last < commit) {
    // A late append. Committed entries match for certain, so this node acknowledges its commit index, which is higher.
    replyAccepted(state, from, commit)
    return
  }
  // A committed entry may be gone from the log. That is not a conflict.
  if (prevIndex > commit && !log.matches(prevIndex, prevTerm)) {
    const hintIndex = Math.max(log.findConflictByTerm(prevIndex, prevTerm), commit)
    const hintTerm = log.termAt(hintIndex)
    state.sendAfterWrite(from, { type: 'appendReply', term, rejected: true, index: prevIndex, hintIndex, hintTerm })
    return
  }
  for (const entry of entries) {
    if (entry.index <= log.lastIndex) {
      if (entry.index < log.firstIndex || log.matches(entry.index, entry.term)) continue
    }
    // A conflict below `writtenIndex`: storage could not take the replacing entries either.
    if (state.isFull) return
    if (entry.index <= log.lastIndex) {
      // Only a real conflict truncates: a late append must not remove a matching suffix (Figure 2, step 3).
      state.truncateLog(entry.index)
    }
    state.appendToLog(entry)
  }
  // Figure 2, step 5: entries after the last one of this append may be another leader's.
  if (message.commit > commit) state.commitTo(Math.max(commit, Math.min(message.commit, last)))
  replyAccepted(state, from, last)
}

/**
 * Figure 2 uses empty appends as heartbeats. Here a heartbeat is a message of its own, as in etcd-io/raft: it carries
 * no previous entry to match, but the round of reads, and its answer carries this node's room.
 */
export function handleHeartbeat(state: CoreState, from: string, message: RaftMessageOf<'heartbeat'>): void {
  const { commit, round } = message
  // A leader never names more than this node has acknowledged, unless this node has lost its log since and joined
  // again.
  if (commit > state.commit && commit <= state.log.lastIndex) state.commitTo(commit)
  state.send(from, { type: 'heartbeatReply', term: state.term, round, room: roomOf(state) })
}

/** Acknowledges entries up to `index` once they are durable (§5.3). One reply answers all appends of one turn. */
export function replyAccepted(state: CoreState, to: string, index: number): void {
  const waiting = state.messagesAfter
  const last = waiting.at(-1)
  if (
    last?.to === to &&
    last.message.type === 'appendReply' &&
    !last.message.rejected &&
    last.message.term === state.term
  ) {
    index = Math.max(index, last.message.index)
    waiting.pop()
  }
  state.sendAfterWrite(to, {
    type: 'appendReply',
    term: state.term,
    rejected: false,
    index,
    hintIndex: 0,
    hintTerm: 0
  })
}

/** Entries follow one another without a gap; their terms never fall and do not exceed the leader's. */
function isWellFormed({ term, prevIndex, prevTerm, entries }: RaftMessageOf<'append'>): boolean {
  let previous = prevTerm
  return entries.every((entry, i) => {
    const right = entry.index === prevIndex + 1 + i && entry.term >= previous && entry.term <= term
    previous = entry.term
    return right
  })
}
