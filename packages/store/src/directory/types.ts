/** Inputs and outputs of the owner directory. */
import type { ClientMessageOf, LeaderMessage } from '@quire/protocol'
import type { Command, CommandOf } from '../state/commands.js'
import type { Applied, SessionId } from '../state/view.js'

/** Messages of a registered session that concern pages. */
export type CoherenceMessage = ClientMessageOf<'fault' | 'invalidateAck' | 'ownerAck' | 'ownerAckDirty' | 'writeback'>

/** A command without its time stamp, which the driver adds: a core has no clock. */
export type Unstamped<C extends Command = Command> = C extends Command ? Omit<C, 'at'> : never

export type DirectoryEffect =
  /** Dropped by the driver when the session is not connected (any more). */
  | {
      readonly type: 'send'
      readonly session: SessionId
      readonly lane: 'control' | 'bulk'
      readonly message: LeaderMessage
    }
  /** The driver keeps it until the log takes it, or leadership is lost. */
  | { readonly type: 'propose'; readonly command: Unstamped<CommandOf<'handover' | 'writeback'>> }

export interface DirectoryStats {
  /** Entries held: pages with a copy handed out, an operation under way or a request waiting. */
  readonly pages: number
  readonly operations: number
  readonly waiting: number
}

/**
 * The owner directory of one Raft group: who may read or write each page, decided by the group's leader.
 *
 * It exists only while its peer leads. All its memory is volatile; what must survive is in the state machine that it reads.
 * Inputs come one at a time; after each, drain `effects()`.
 */
export interface Directory {
  /** This peer leads `term` and has applied everything up to its own no-op. Starts from nothing. */
  elected(term: number): void
  /** Leadership is lost: forgets everything and sends nothing until elected again. */
  deposed(): void
  /** The session registered on a new connection; its earlier connection, if any, is gone. Registering acknowledges the term. */
  connected(session: SessionId): void
  disconnected(session: SessionId): void
  /** From a registered session, in the order of arrival on each lane. */
  receive(session: SessionId, message: CoherenceMessage): void
  /** Every entry, right after it was applied, also those of other proposers. */
  applied(outcome: Applied): void
  effects(): DirectoryEffect[]
  stats(): DirectoryStats
}
