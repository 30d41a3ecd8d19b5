/** The inputs and outputs of the owner directory. */
import type { ClientMessageOf, LeaderMessage, RequestTypeOf } from '@quire/protocol'
import type { Command, CommandOf } from '../state/commands.js'
import type { FileId, SessionId } from '../state/view.js'
import type { UnreadGrant } from './grant.js'

/** Messages about pages that a registered session sends. */
export type CoherenceMessage = ClientMessageOf<
  'fault' | 'invalidateAck' | 'ownerAck' | 'ownerAckDirty' | 'discardAck' | 'writeback' | 'dropped'
>

/** Requests that take pages away. Every session gives the pages up before the request goes into the log. */
export type DiscardRequest = ClientMessageOf<RequestTypeOf<'discard'>>

/** A command without its time stamp. The driver adds the time, because a core has no clock. */
export type Unstamped<C extends Command = Command> = C extends Command ? Omit<C, 'at'> : never
export type DirectoryCommand = Unstamped<CommandOf<'handover' | 'writeback' | 'truncate' | 'punch'>>

export type DirectoryEffect =
  /** The driver drops the message if the session is not connected. */
  | {
      readonly type: 'send'
      readonly session: SessionId
      readonly lane: 'control' | 'bulk'
      readonly message: LeaderMessage
    }
  /**
   * A grant whose page is damaged here. The driver reads and sends it, on bulk, when the page is repaired. Until then
   * it holds back what follows on bulk, because grants must arrive in order. If nobody has a good copy, the fault
   * fails.
   */
  | { readonly type: 'repairAndSend'; readonly session: SessionId; readonly grant: UnreadGrant }
  /**
   * A discard of the file is over, and the directory has told its sessions. The driver answers requests that waited for
   * this before it carries out the next effect.
   */
  | { readonly type: 'discarded'; readonly file: FileId }
  /** The driver keeps the command until the log accepts it or the term ends. */
  | { readonly type: 'propose'; readonly command: DirectoryCommand }

export interface PageContention {
  readonly file: FileId
  readonly page: number
  /** Grants of the page's ownership since the directory has an entry for it. */
  readonly turns: number
}

export interface DirectoryStats {
  /** Page entries: pages with a copy at some session, with an operation under way, or with a waiting request. */
  readonly pages: number
  /** Operations on pages that are under way, and discards that are under way or wait. */
  readonly operations: number
  /** Faults that wait. */
  readonly waiting: number
  /**
   * The highest number of ownership grants to other sessions that one request for a page has waited for, in this term.
   */
  readonly longestWaitTurns: number
  /** At most eight pages: those whose ownership has moved most often. */
  readonly contended: readonly PageContention[]
}
