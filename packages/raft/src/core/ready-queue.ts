import { nextInstallation } from './snapshot-receiver.js'
import type { CoreState } from './state.js'
import type { Entry, HardState, Ready, SoftState, StorageWrite } from './types.js'

/** Gathers the output of a core, since the last call of `next`, into one `Ready`. */
export class ReadyQueue {
  /** The hard state that storage was last given. */
  private written: HardState
  private reported: SoftState

  constructor(private readonly state: CoreState) {
    this.written = state.init.hardState
    this.reported = this.softState()
  }

  /** What the driver must do now; undefined if there is nothing. */
  next(): Ready | undefined {
    const { state } = this
    const softState = this.changedSoftState()
    const write = this.nextWrite()
    const install = nextInstallation(state)
    const committed = this.nextCommitted()
    if (!this.takesEntries) this.capAcknowledgements()
    const { messages, messagesAfter, readStates, piecesWanted, pieceReceived } = state
    const lists = [messages, messagesAfter, readStates, piecesWanted, committed]
    const isIdle =
      softState === undefined && write === undefined && pieceReceived === undefined && install === undefined
    if (isIdle && lists.every((list) => list.length === 0)) return undefined
    state.messages = []
    state.messagesAfter = []
    state.readStates = []
    state.piecesWanted = []
    state.pieceReceived = undefined
    return { messages, write, messagesAfter, committed, readStates, piecesWanted, pieceReceived, install, softState }
  }

  /** Otherwise storage takes hard states only: it has no room, or is still giving entries back. */
  private get takesEntries(): boolean {
    return !this.state.isFull && !this.state.log.isGivingBack
  }

  private nextWrite(): StorageWrite | undefined {
    const { state } = this
    const { term, vote, log } = state
    const { takesEntries } = this
    const isStateNew = term !== this.written.term || vote !== this.written.vote
    // A log that starts anew takes its hard state along.
    const mustWrite = isStateNew || (log.hasUnwrittenReset && takesEntries)
    if (!mustWrite && !(takesEntries && log.hasUnwritten)) return undefined
    // A new commit index alone is not worth a flush: it travels with the next write.
    const commit = Math.max(this.written.commit, Math.min(state.commit, log.durableIndex))
    const changed = mustWrite || commit !== this.written.commit
    const hardState = { term, vote, commit }
    this.written = hardState
    const { ack, reset, entries } = takesEntries ? log.beginWrite(term) : log.beginStateWrite(term)
    return { ack, reset, entries, hardState: changed ? hardState : undefined }
  }

  /**
   * Lowers acknowledgments to entries that storage was handed. The writes that these messages wait for do not make the
   * other entries durable.
   */
  private capAcknowledgements(): void {
    const { state } = this
    const { writtenIndex, hasUnwrittenReset } = state.log
    state.messagesAfter = state.messagesAfter.flatMap((out) => {
      const { message } = out
      if (message.type !== 'appendReply' || message.rejected) return [out]
      // Storage still holds the log from before the reset, so there is nothing to acknowledge.
      if (hasUnwrittenReset) return []
      return [{ to: out.to, message: { ...message, index: Math.min(message.index, writtenIndex) } }]
    })
  }

  /**
   * Committed entries wait for this node's disk: otherwise the state machine could be ahead of the log after a crash.
   */
  private nextCommitted(): readonly Entry[] {
    const { state } = this
    if (state.installing !== undefined || state.unreadable) return []
    const end = Math.min(state.commit, state.log.durableIndex)
    if (state.applying !== state.applied || end <= state.applied) return []
    const entries = state.log.entries(state.applied + 1, end, state.init.limits.maxApplyBytes)
    // An empty result means that storage cannot read the entries now.
    state.unreadable = entries.length === 0
    state.applying = entries.at(-1)?.index ?? state.applying
    return entries
  }

  private changedSoftState(): SoftState | undefined {
    const now = this.softState()
    const { role, term, leader } = this.reported
    if (now.role === role && now.term === term && now.leader === leader) return undefined
    this.reported = now
    return now
  }

  private softState(): SoftState {
    return { role: this.state.role, term: this.state.term, leader: this.state.leader }
  }
}
