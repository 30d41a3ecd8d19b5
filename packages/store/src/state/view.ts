/**
 * What the rest of a peer may ask the state machine. All of it is the state after `appliedIndex`; nothing here waits.
 */
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
  /** Files that the session maps. */
  readonly files: ReadonlySet<FileId>
}

export interface FileRecord extends WireFileStat {
  /**
   * False: no path leads to it, and it goes when nobody maps it. `path` is then its last one, or empty if it has never had one:
   * such a file is mapped by the session that created it, and by no other.
   */
  readonly linked: boolean
  /** Sessions that map the file. */
  readonly sessions: ReadonlySet<SessionId>
}

/**
 * A page's owner on record. A page that nobody has owned is `{ session: 0, epoch: 0, seq: 0 }`. Where the file is owned as a whole, all
 * of its pages have one and the same record.
 */
export interface PageOwner {
  /** 0: nobody. */
  readonly session: SessionId
  /** Raised at each transfer, so that a late writeback of an earlier owner is recognised. Never goes back. */
  readonly epoch: number
  /** The newest writeback applied under this epoch. A writeback applies only if its `seq` is higher. */
  readonly seq: number
}

export interface PageContent {
  /**
   * Log index of the last change of the page's bytes; 0: never written, or discarded since. Copies are told apart by whether their version is
   * the same, never by which is higher, and an index is never given twice: so a page may go back to 0.
   */
  readonly version: number
  /** `pageSize` bytes, owned by the store: do not change, copy to keep. Absent: all zeros. */
  readonly bytes: Uint8Array | undefined
}

export interface StateView {
  readonly appliedIndex: number
  readonly config: ReplicatedConfig | undefined
  /** The configuration that the cluster was founded from. */
  readonly founding: ReplicatedConfig | undefined
  session(id: SessionId): SessionRecord | undefined
  sessions(): Iterable<SessionRecord>
  file(id: FileId): FileRecord | undefined
  fileByPath(path: string): FileRecord | undefined
  /** Files whose path starts with `prefix` and sorts after `after` (code units), in order, at most `limit`. */
  list(prefix: string, after: string, limit: number): FileRecord[]
  owner(file: FileId, page: number): PageOwner
  /** Ownerships on record. */
  ownedPages(): number
  /** The answer to this request is remembered: its command would be answered and not be applied again. */
  isAnswered(session: SessionId, seq: number): boolean
  version(file: FileId, page: number): number
  /** Throws CorruptionError when the stored bytes do not match their checksum. */
  page(file: FileId, page: number): PageContent
}

/** Outcome of one applied entry, for the peer that proposed it and for the directory. */
export type Applied =
  | { readonly type: 'config' }
  | { readonly type: 'session-opened'; readonly session: SessionId }
  /** `existed` is false when the session was gone already. */
  | {
      readonly type: 'session-ended'
      readonly session: SessionId
      readonly existed: boolean
      readonly expired: boolean
    }
  /** The answer to a request, the refusal of one included. */
  | Answer
  | {
      readonly type: 'handover'
      readonly file: FileId
      readonly page: number
      /** False: owner or epoch did not match, or the session to give it to has ended; nothing changed. */
      readonly done: boolean
      readonly owner: PageOwner
      readonly version: number
    }
  | { readonly type: 'writeback'; readonly session: SessionId; readonly outcomes: readonly WritebackOutcome[] }
