/** Replication, the follower's half (Figure 2, AppendEntries; §5.3). Whoever calls is the leader of the own term: `step` saw to that. */
import type { RaftMessageOf } from '@quire/protocol'
import { roomOf } from './room.js'
import type { CoreState } from './state.js'

export function handleAppend(state: CoreState, from: string, message: RaftMessageOf<'append'>): void {
  const { term, log, commit } = state
  const { prevIndex, prevTerm, entries } = message
  if (!isWellFormed(message)) return
  const last = prevIndex + entries.length
  // These entries cannot be stored now. Some may be in memory, given back by storage, and an answer could not
  // acknowledge them. This append counts as lost: the leader sends it again, but not before the next heartbeat, and that
  // tells it to wait. An answer, also a refusal, would make it send at once.
  if (state.isFull && entries.length > 0 && last > log.writtenIndex) return
  if (last < commit) {
    // Late: what is committed matches for certain, and is more.
    replyAccepted(state, from, commit)
    return
  }
  // What is committed may be gone from the log, which is no conflict.
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
    // A conflict below what is stored: what would replace it cannot be stored either.
    if (state.isFull) return
    if (entry.index <= log.lastIndex) {
      // Only a real conflict truncates: a late append must not take a matching suffix away (Figure 2, step 3).
      state.truncateLog(entry.index)
    }
    state.appendToLog(entry)
  }
  // Figure 2, step 5: what stands after the last new entry may be another leader's.
  if (message.commit > commit) state.commitTo(Math.max(commit, Math.min(message.commit, last)))
  replyAccepted(state, from, last)
}

export function handleHeartbeat(state: CoreState, from: string, message: RaftMessageOf<'heartbeat'>): void {
  const { commit, round } = message
  // It never names more than this node has acknowledged, unless it is from before this node lost its log and joined again.
  if (commit > state.commit && commit <= state.log.lastIndex) state.commitTo(commit)
  state.send(from, { type: 'heartbeatReply', term: state.term, round, room: roomOf(state) })
}

/** §5.3: an acknowledged entry must be durable, so the reply waits. One reply speaks for the appends of one turn. */
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

/** Entries follow one another, with terms that never fall and do not exceed the leader's. */
function isWellFormed({ term, prevIndex, prevTerm, entries }: RaftMessageOf<'append'>): boolean {
  let previous = prevTerm
  return entries.every((entry, i) => {
    const right = entry.index === prevIndex + 1 + i && entry.term >= previous && entry.term <= term
    previous = entry.term
    return right
  })
}
