import { assert, MAX_APPEND_ENTRIES, raftEntryBytes, type RaftEntryKind, type RaftMessageOf } from '@quire/protocol'
import { quorumIndex } from './configuration.js'
import type { Progress } from './progress.js'
import type { CoreState } from './state.js'
import type { Entry, Proposed } from './types.js'

// ---- leader

export function propose(state: CoreState, datas: readonly Uint8Array[]): Proposed {
  if (state.role !== 'leader') return { refused: 'notLeader', leader: state.leader }
  let bytes = 0
  for (const data of datas) bytes += data.length
  // One proposal always fits, however large it is.
  if (state.uncommittedBytes > 0 && state.uncommittedBytes + bytes > state.init.limits.maxUncommittedBytes) {
    return { refused: 'full', uncommittedBytes: state.uncommittedBytes }
  }
  const index = state.log.lastIndex + 1
  for (const data of datas) {
    const entry = appendAsLeader(state, 'normal', data)
    const counted = raftEntryBytes(entry)
    state.proposals.push({ index: entry.index, bytes: counted })
    state.uncommittedBytes += counted
  }
  return { index, term: state.term }
}

/** A leader only ever appends to its log (§5.3, Leader Append-Only). */
export function appendAsLeader(state: CoreState, kind: RaftEntryKind, data: Uint8Array): Entry {
  const entry = { index: state.log.lastIndex + 1, term: state.term, kind, data }
  state.appendToLog(entry)
  return entry
}

/** Sends every follower what its progress allows. */
export function replicate(state: CoreState): void {
  const { maxInflightMessages, maxInflightBytes } = state.init.limits
  for (const [id, progress] of state.progress) {
    while (progress.next <= state.log.lastIndex && progress.canSend(maxInflightMessages, maxInflightBytes)) {
      sendAppend(state, id, progress)
    }
  }
}

function sendAppend(state: CoreState, to: string, progress: Progress): void {
  const { log } = state
  const prevIndex = progress.next - 1
  const entries = log.entries(progress.next, log.lastIndex, state.init.limits.maxAppendBytes, MAX_APPEND_ENTRIES)
  // Beside the own flush, not after it (thesis §10.2.1): the leader counts itself only when it is durable.
  state.send(to, {
    type: 'append',
    term: state.term,
    prevIndex,
    prevTerm: log.termAt(prevIndex),
    commit: state.commit,
    entries
  })
  progress.sent(
    prevIndex + entries.length,
    entries.reduce((sum, entry) => sum + raftEntryBytes(entry), 0)
  )
}

export function sendHeartbeats(state: CoreState): void {
  state.heartbeatElapsed = 0
  for (const [id, progress] of state.progress) {
    // A follower may hold other entries beyond what matches; told of a higher commit, it would take them for committed.
    const commit = Math.min(progress.match, state.commit)
    state.send(id, { type: 'heartbeat', term: state.term, commit, round: state.reads.currentRound })
  }
}

export function handleHeartbeatReply(state: CoreState, from: string, message: RaftMessageOf<'heartbeatReply'>): void {
  const progress = state.progress.get(from)
  if (state.role !== 'leader' || progress === undefined) return
  progress.active = true
  state.reads.confirm(from, message.round)
  if (progress.match >= state.log.lastIndex) return
  progress.probing = false
  if (progress.heardOf) {
    progress.heardOf = false
  } else if (progress.mode === 'replicate') {
    // Something is unacknowledged, for a while. An empty append after all that was sent is refused if any of it was lost.
    const prevIndex = progress.next - 1
    const prevTerm = state.log.termAt(prevIndex)
    state.send(from, { type: 'append', term: state.term, prevIndex, prevTerm, commit: state.commit, entries: [] })
  }
}

export function handleAppendReply(state: CoreState, from: string, message: RaftMessageOf<'appendReply'>): void {
  const progress = state.progress.get(from)
  if (state.role !== 'leader' || progress === undefined || message.index > state.log.lastIndex) return
  progress.active = true
  if (message.rejected) {
    // §5.3: skip all of a term at once. Where the follower's hint is of a higher term than ours there, go below that.
    progress.rejected(message.index, state.log.lastAtMost(message.hintIndex, message.hintTerm))
  } else if (progress.accepted(message.index)) {
    advanceCommit(state)
  }
}

/** Figure 2, "Rules for Leaders", last. */
export function advanceCommit(state: CoreState): void {
  if (state.role !== 'leader') return
  const index = quorumIndex(state.configurations.current, (id) =>
    // A leader counts itself only for what its own disk has.
    id === state.id ? state.log.durableIndex : (state.progress.get(id)?.match ?? 0)
  )
  // §5.4.2: only entries of the own term are committed by counting, and all before them with them (Figure 8).
  if (index > state.commit && state.log.term(index) === state.term) state.commitTo(index)
  releaseProposals(state)
}

function releaseProposals(state: CoreState): void {
  // What a majority has but the own disk has not still takes memory here.
  const settled = Math.min(state.commit, state.log.durableIndex)
  let count = 0
  while (count < state.proposals.length && state.proposals[count]!.index <= settled) {
    state.uncommittedBytes -= state.proposals[count]!.bytes
    count++
  }
  state.proposals.splice(0, count)
}

// ---- follower

/** AppendEntries, receiver (Figure 2). The sender is the leader of the own term: `step` saw to that. */
export function handleAppend(state: CoreState, from: string, message: RaftMessageOf<'append'>): void {
  const { term, log } = state
  const { prevIndex, prevTerm, entries } = message
  if (!isWellFormed(message)) return
  if (prevIndex < state.commit && prevIndex + entries.length < state.commit) {
    // Late: what is committed matches for certain.
    state.sendAfterWrite(from, accepted(term, state.commit))
    return
  }
  if (prevIndex >= log.firstIndex - 1 && !log.matches(prevIndex, prevTerm)) {
    const hintIndex = log.lastAtMost(prevIndex, prevTerm)
    const hintTerm = log.termAt(hintIndex)
    state.sendAfterWrite(from, { type: 'appendReply', term, rejected: true, index: prevIndex, hintIndex, hintTerm })
    return
  }
  for (const entry of entries) {
    if (entry.index <= log.lastIndex) {
      if (entry.index < log.firstIndex || log.matches(entry.index, entry.term)) continue
      // Only a real conflict truncates: a late append must not take a matching suffix away (Figure 2, step 3).
      state.truncateLog(entry.index)
    }
    state.appendToLog(entry)
  }
  const last = prevIndex + entries.length
  if (message.commit > state.commit) state.commitTo(Math.max(state.commit, Math.min(message.commit, last)))
  replyAccepted(state, from, last)
}

export function handleHeartbeat(state: CoreState, from: string, message: RaftMessageOf<'heartbeat'>): void {
  if (message.commit > state.commit) {
    assert(message.commit <= state.log.lastIndex, `heartbeat's commit ${message.commit} beyond ${state.log.lastIndex}`)
    state.commitTo(message.commit)
  }
  state.send(from, { type: 'heartbeatReply', term: state.term, round: message.round })
}

/** §5.3: an acknowledged entry must be durable, so the reply waits. One reply speaks for the appends of one turn. */
function replyAccepted(state: CoreState, to: string, index: number): void {
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
  state.sendAfterWrite(to, accepted(state.term, index))
}

function accepted(term: number, index: number): RaftMessageOf<'appendReply'> {
  return { type: 'appendReply', term, rejected: false, index, hintIndex: 0, hintTerm: 0 }
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
