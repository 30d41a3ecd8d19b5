/** Inputs and outputs of the owner directory. */
import type { ClientMessageOf, LeaderMessage, QuireError } from '@quire/protocol'
import type { Command, CommandOf } from '../state/commands.js'
import type { Applied, FileId, SessionId } from '../state/view.js'

/** Messages of a registered session that concern pages. */
export type CoherenceMessage = ClientMessageOf<
  'fault' | 'invalidateAck' | 'ownerAck' | 'ownerAckDirty' | 'discardAck' | 'writeback'
>

/** Requests that take pages away from everybody before they go into the log. */
export type DiscardRequest = ClientMessageOf<'truncate' | 'punch'>

/** A command without its time stamp, which the driver adds: a core has no clock. */
export type Unstamped<C extends Command = Command> = C extends Command ? Omit<C, 'at'> : never
export type DirectoryCommand = Unstamped<CommandOf<'handover' | 'writeback' | 'truncate' | 'punch'>>

export type DirectoryEffect =
  /** Dropped by the driver when the session is not connected (any more). */
  | {
      readonly type: 'send'
      readonly session: SessionId
      readonly lane: 'control' | 'bulk'
      readonly message: LeaderMessage
    }
  /** A discard of the file is over, and its sessions have been told: what waited for it is answered before what follows. */
  | { readonly type: 'discarded'; readonly file: FileId }
  /** The driver keeps it until the log takes it, or leadership is lost. */
  | { readonly type: 'propose'; readonly command: DirectoryCommand }

export interface PageContention {
  readonly file: FileId
  readonly page: number
  /** Grants of its ownership, for as long as anybody has used the page without a pause. */
  readonly turns: number
}

export interface DirectoryStats {
  /** Entries held: pages with a copy handed out, an operation under way or a request waiting. */
  readonly pages: number
  /** Under way or waiting, on pages and on files. */
  readonly operations: number
  /** Faults. */
  readonly waiting: number
  /** In this term: the most grants of a page's ownership to others that one request for it has waited for. */
  readonly longestWaitTurns: number
  /** The pages whose ownership moved most often, at most eight. */
  readonly contended: readonly PageContention[]
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
  /**
   * A request that no answer is remembered for. Its command is proposed when everybody has given the pages up. Returns why it cannot be
   * done; then nothing is proposed. A request that is under way already changes nothing.
   */
  discard(session: SessionId, request: DiscardRequest): QuireError | undefined
  /** Pages of the file are being taken away: its size and what it holds are about to change. */
  isDiscarding(file: FileId): boolean
  /** Every entry, right after it was applied, also those of other proposers. */
  applied(outcome: Applied): void
  effects(): DirectoryEffect[]
  stats(): DirectoryStats
}
