/** The read side of the state machine: its records, and the outcomes of its entries. */
import type { WireFileStat, WritebackOutcome } from '@quire/protocol'
import type { Answer } from './answer.js'
import type { ReplicatedConfig } from './commands.js'

export type SessionId = number
export type FileId = number

export interface SessionRecord {
  readonly id: SessionId
  /** The client's PeerId as text. */
  readonly clientId: string
  readonly ttlMs: number
  /** The files that the session maps. */
  readonly files: ReadonlySet<FileId>
}

export interface FileRecord extends WireFileStat {
  /**
   * Whether a path leads to the file. The state machine removes a file without a path once no session maps it.
   * `path` is then the last path of the file. It is empty for a file that has never had a path, which only the session
   * that created it maps.
   */
  readonly linked: boolean
  /** The sessions that map the file. */
  readonly sessions: ReadonlySet<SessionId>
}

/**
 * The owner of a page on record. A page that no session has owned has `{ session: 0, epoch: 0, seq: 0 }`. All pages of
 * a file that is owned as a whole share one record.
 */
export interface PageOwner {
  /** 0: nobody. */
  readonly session: SessionId
  /** Rises at each transfer and never falls, so it identifies a late writeback of an earlier owner. */
  readonly epoch: number
  /** The newest applied writeback under this epoch. A writeback applies only if its `seq` is higher. */
  readonly seq: number
}

export interface PageContent {
  /**
   * Log index of the last change of the bytes, or 0 if no entry has written the page since the last discard. Two copies
   * with the same version have the same bytes, because no index repeats. Which of two versions is higher says nothing,
   * because a page may return to 0.
   */
  readonly version: number
  /** `pageSize` bytes, which the store owns: copy them to change or keep them. undefined: all zeros. */
  readonly bytes: Uint8Array | undefined
}

/** The state after the entry at `appliedIndex`. No method waits. */
export interface StateView {
  readonly appliedIndex: number
  readonly config: ReplicatedConfig | undefined
  /** The first configuration of the cluster. */
  readonly founding: ReplicatedConfig | undefined
  session(id: SessionId): SessionRecord | undefined
  sessions(): Iterable<SessionRecord>
  file(id: FileId): FileRecord | undefined
  fileByPath(path: string): FileRecord | undefined
  /** Returns up to `limit` files whose path starts with `prefix` and comes after `after`, in order of code units. */
  list(prefix: string, after: string, limit: number): FileRecord[]
  owner(file: FileId, page: number): PageOwner
  /** Returns the number of pages with an owner. */
  ownedPages(): number
  /** Returns whether the answer of this request is on record, so that its command would not apply again. */
  isAnswered(session: SessionId, seq: number): boolean
  /** Throws DamagedPageError. */
  version(file: FileId, page: number): number
  /** Throws DamagedPageError. */
  page(file: FileId, page: number): PageContent
}

/** The outcome for one page of a writeback. Only the leader needs the version, and reads it. */
export type WrittenPage = Omit<WritebackOutcome, 'version'> & {
  /** This peer has stored nothing, because its page is damaged. It is no part of the state. */
  readonly isLost?: boolean
}

/** The outcome for one page of a handover. */
export interface PageHandover {
  /** False: nothing changed, because the owner or epoch did not match, or the receiving session has ended. */
  readonly done: boolean
}

/** The outcome of one applied entry, for the peer that proposed the entry and for the directory. */
export type Applied =
  | { readonly type: 'config' }
  | { readonly type: 'compare' }
  | { readonly type: 'session-opened'; readonly session: SessionId }
  /** `existed` is false if the session had already ended. */
  | {
      readonly type: 'session-ended'
      readonly session: SessionId
      readonly existed: boolean
      readonly expired: boolean
    }
  /** The answer to a request, possibly a refusal. */
  | Answer
  /** The outcomes of `page` and the pages behind it. */
  | {
      readonly type: 'handover'
      readonly file: FileId
      readonly page: number
      readonly outcomes: readonly PageHandover[]
    }
  | { readonly type: 'writeback'; readonly session: SessionId; readonly outcomes: readonly WrittenPage[] }
