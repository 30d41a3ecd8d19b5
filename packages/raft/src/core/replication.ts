/**
 * Replication, the leader's half (§5.3): it appends proposals, sends its log to the followers, and advances the commit
 * index.
 */
import {
  MAX_APPEND_ENTRIES,
  RAFT_ENTRY_OVERHEAD_BYTES,
  raftEntryBytes,
  type RaftEntryKind,
  type RaftMessageOf
} from '@quire/protocol'
import { isVoter } from './configuration.js'
import type { Progress } from './progress.js'
import { quorumIndex } from './quorum.js'
import { beginSnapshot, resendPiece } from './snapshot-sender.js'
import type { CoreState } from './state.js'
import { sendTimeoutNow } from './transfer.js'
import type { Entry, Proposed, Refusal } from './types.js'

/** Appends all of `datas` to the leader's log, or none (Figure 2, "Leaders"). `replicate` sends them later. */
export function propose(state: CoreState, datas: readonly Uint8Array[]): Proposed {
  let bytes = 0
  for (const data of datas) bytes += data.length + RAFT_ENTRY_OVERHEAD_BYTES
  const refused = refusal(state, bytes)
  if (refused !== undefined) return refused
  const index = state.log.lastIndex + 1
  for (const data of datas) countProposal(state, appendAsLeader(state, 'normal', data))
  return { index, term: state.term }
}

/** Why the leader refuses a proposal of `bytes` now; undefined if it accepts. */
export function refusal(state: CoreState, bytes: number): Refusal | undefined {
  const { role, leader, transfer, uncommitted } = state
  const uncommittedBytes = uncommitted.bytes
  if (role !== 'leader') return { refused: 'notLeader', leader }
  // If the log kept growing, the target might never catch up (thesis §3.10).
  if (transfer !== undefined) return { refused: 'transferring', to: transfer.to }
  // A single proposal is always accepted, however large it is.
  if (uncommittedBytes > 0 && uncommittedBytes + bytes > state.init.limits.maxUncommittedBytes) {
    return { refused: 'full', uncommittedBytes }
  }
  return undefined
}

/** Counts an entry against `maxUncommittedBytes` until `advanceCommit` releases it. */
export function countProposal(state: CoreState, entry: Entry): void {
  state.uncommitted.add(entry.index, raftEntryBytes(entry))
}

/** A leader only appends to its log; it never overwrites or deletes entries (§5.3, Leader Append-Only). */
export function appendAsLeader(state: CoreState, kind: RaftEntryKind, data: Uint8Array): Entry {
  const entry = { index: state.log.lastIndex + 1, term: state.term, kind, data }
  state.appendToLog(entry)
  return entry
}

/** Sends each follower the appends that its progress allows. */
export function replicate(state: CoreState): void {
  const { maxInflightMessages, maxInflightBytes } = state.init.limits
  for (const [id, progress] of state.progress) {
    // The follower would store nothing of them. Its answers to heartbeats tell when it has room again.
    if (progress.room === 'none') continue
    while (progress.next <= state.log.lastIndex && progress.canSend(maxInflightMessages, maxInflightBytes)) {
      if (progress.next < state.log.firstIndex) {
        beginSnapshot(state, id, progress)
        break
      }
      sendAppend(state, id, progress)
    }
  }
}

function sendAppend(state: CoreState, to: string, progress: Progress): void {
  const { log } = state
  const prevIndex = progress.next - 1
  const entries = log.entries(progress.next, log.lastIndex, state.init.limits.maxAppendBytes, MAX_APPEND_ENTRIES)
  if (entries.length === 0) {
    // Storage cannot read these entries now. Other followers need other entries and are not delayed.
    progress.unreadable = true
    return
  }
  // The append leaves beside this node's own flush, not after it (thesis §10.2.1): the leader counts itself only when
  // its entries are durable.
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

/** Sends one heartbeat to each follower, by the clock or for a round of reads. */
export function sendHeartbeats(state: CoreState): void {
  for (const [id, progress] of state.progress) {
    // A follower may hold conflicting entries beyond `match`. Told of a higher commit index, it would take them as
    // committed.
    const commit = Math.min(progress.match, state.commit)
    state.send(id, { type: 'heartbeat', term: state.term, commit, round: state.reads.currentRound })
  }
}

/**
 * The follower answers, which counts for check-quorum, for reads and for a transfer. If it lacks entries, but has
 * acknowledged nothing since the periodic heartbeat before, the leader looks for a lost message.
 */
export function handleHeartbeatReply(state: CoreState, from: string, message: RaftMessageOf<'heartbeatReply'>): void {
  const progress = state.progress.get(from)
  if (state.role !== 'leader' || progress === undefined) return
  progress.answered()
  progress.room = message.room
  state.reads.confirm(from, message.round)
  sendTimeoutNow(state, from)
  if (progress.match >= state.log.lastIndex || !progress.retryDue) return
  progress.retryDue = false
  progress.probeInFlight = false
  if (progress.room === 'none') {
    // The follower gets no entries to store. But it may hold entries that this leader does not know of, and a majority
    // may need them: an empty append finds out.
    if (progress.mode !== 'snapshot') sendEmptyAppend(state, from, progress)
    return
  }
  if (progress.progressedSinceHeartbeat) progress.progressedSinceHeartbeat = false
  // The follower has not acknowledged everything, and nothing at all since the last heartbeat.
  else if (progress.mode === 'replicate') sendEmptyAppend(state, from, progress)
  else if (progress.mode === 'snapshot') resendPiece(state, from, progress)
}

/** Sends an append without entries after everything that was sent. The follower refuses it if any of that was lost. */
function sendEmptyAppend(state: CoreState, to: string, progress: Progress): void {
  const prevIndex = progress.next - 1
  const prevTerm = state.log.term(prevIndex)
  if (prevTerm === undefined) {
    // The entry is compacted by now. No append leaves while the limits in flight are reached, and those in flight are
    // lost.
    progress.becomeProbe()
    return
  }
  state.send(to, { type: 'append', term: state.term, prevIndex, prevTerm, commit: state.commit, entries: [] })
}

/** AppendEntries, sender (§5.3). */
export function handleAppendReply(state: CoreState, from: string, message: RaftMessageOf<'appendReply'>): void {
  const progress = state.progress.get(from)
  if (state.role !== 'leader' || progress === undefined || message.index > state.log.lastIndex) return
  progress.answered()
  if (message.rejected) {
    // §5.3: skip a whole term at once. Where the leader's entry at the hint has a higher term, go below that term too.
    const hint = state.log.findConflictByTerm(message.hintIndex, message.hintTerm)
    if (!isVoter(state.configuration, from)) progress.forgetAbove(message.index, hint)
    progress.rejected(message.index, hint)
  } else if (progress.accepted(message.index)) {
    advanceCommit(state)
    sendTimeoutNow(state, from)
  }
}

/** Advances the commit index to what a majority has stored (Figure 2, "Rules for Leaders", last). */
export function advanceCommit(state: CoreState): void {
  if (state.role !== 'leader') return
  const index = quorumIndex(state.configuration, (id) =>
    // A leader counts itself only for entries on its own disk.
    id === state.id ? state.log.durableIndex : (state.progress.get(id)?.match ?? 0)
  )
  // §5.4.2: counting replicas commits only entries of the leader's term, and with them every entry before (Figure 8).
  if (index > state.commit && state.log.term(index) === state.term) state.commitTo(index)
  // Entries committed by a majority but not yet on this node's disk still occupy memory.
  state.uncommitted.releaseUpTo(Math.min(state.commit, state.log.durableIndex))
}
