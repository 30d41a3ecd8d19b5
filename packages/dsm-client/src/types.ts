/** The public API. Offsets and lengths are bytes from 0, as safe integers. Every async method takes `{ signal }` last. */
import type { PrivateKey } from '@quire/net'
import type { LostRange } from '@quire/protocol'
import type { Logger } from 'pino'

export interface CallOptions {
  /** Rejects the call with the signal's reason (an AbortError if that is no Error); others that wait for the same page go on. */
  readonly signal?: AbortSignal
}

export interface DsmClientInit {
  /** Multiaddrs that end in /p2p/<PeerId>. Any one that answers is enough, the rest is learnt. */
  readonly peers: readonly string[]
  /** libp2p identity. Default: a fresh Ed25519 key. */
  readonly privateKey?: PrivateKey
  /** Page frames held at most, in bytes. Default 64 MiB. */
  readonly cacheBytes?: number
  /** How long the cluster keeps this client's pages for it when it is silent. Default 10,000. */
  readonly sessionTtlMs?: number
  /** How long a call waits for the cluster or for another client's pin. Default 30,000; then UnavailableError or BusyError. */
  readonly faultTimeoutMs?: number
  /** pino. Default: silent. */
  readonly logger?: Logger
}

/**
 * `active`: the lease is valid. `suspect`: it ran out, and the cluster has not said whether the session lives: calls wait.
 * `expired`: the cluster has ended the session, everything that hung on it is dead; the client's next call starts another.
 */
export type SessionState = 'active' | 'suspect' | 'expired'

export interface FileStat {
  readonly id: string
  readonly path: string
  readonly size: number
  readonly pageSize: number
  readonly unit: 'page' | 'file'
  /** Log index of the last change to the file's bytes or size. */
  readonly version: number
  readonly createdAt: Date
  readonly modifiedAt: Date
}

export interface OpenOptions extends CallOptions {
  /** Create the file if there is none. */
  readonly create?: boolean
  /** With `create`: fail with FileExistsError if there is one. */
  readonly exclusive?: boolean
  /** Size in bytes of a file that is created; it reads as zeros. Default 0. */
  readonly size?: number
  /** A power of two from 4,096 to 65,536. Default 4,096; another than the file has is an InvalidArgumentError. */
  readonly pageSize?: number
}

export interface DsmClientEvents {
  /** The session has expired; `detail.lost` was written and never made durable. */
  sessionlost: CustomEvent<{ readonly lost: readonly LostRange[] }>
  leaderchange: CustomEvent<{ readonly leader: string; readonly term: number }>
}

export interface DsmClient extends AsyncDisposable {
  /** This client's PeerId as text. */
  readonly peerId: string
  readonly session: { readonly id: string; readonly state: SessionState }
  /** Commits that this session maps the file. NoSuchFileError, FileExistsError, InvalidArgumentError. */
  open(path: string, options?: OpenOptions): Promise<DsmFile>
  /** As it is now, by a majority's word. NoSuchFileError. */
  stat(path: string, options?: CallOptions): Promise<FileStat>
  /** Files whose path starts with `prefix`, in order of path. Not one snapshot: files made meanwhile may or may not appear. */
  list(prefix?: string, options?: CallOptions): AsyncIterable<FileStat>
  addEventListener<K extends keyof DsmClientEvents>(type: K, listener: (event: DsmClientEvents[K]) => void): void
  removeEventListener<K extends keyof DsmClientEvents>(type: K, listener: (event: DsmClientEvents[K]) => void): void
  stats(): ClientStats
  /** Flushes, releases everything, ends the session. Calls that wait fail with ClosedError. */
  close(options?: CallOptions): Promise<void>
}

export interface DsmFile extends AsyncDisposable {
  readonly id: string
  readonly path: string
  readonly pageSize: number
  stat(options?: CallOptions): Promise<FileStat>
  /** A copy, through the same cache as every mapping; shorter than `length` at the end of the file. */
  read(offset: number, length: number, options?: CallOptions): Promise<Uint8Array>
  /** Extends the file if it must (the new size is committed before this resolves). The bytes are durable after `sync`. */
  write(offset: number, bytes: Uint8Array, options?: CallOptions): Promise<void>
  /** Everything that this client has written to the file is durable on a majority's disks. */
  sync(options?: CallOptions): Promise<void>
  mmap(options?: MmapOptions): Promise<Mapping>
  /**
   * Flushes, and gives the file up with its last handle. Its mappings are dead. When the flush fails it rejects and the file stays
   * open. SessionExpiredError when unflushed bytes of it were lost.
   */
  close(options?: CallOptions): Promise<void>
}

export interface MmapOptions extends CallOptions {
  /** A multiple of the page size. Default 0. */
  readonly offset?: number
  /** May reach beyond the end, up to the file's later growth. Default: to the end of the file. */
  readonly length?: number
  /** Default 'read-write'. */
  readonly prot?: 'read' | 'read-write'
}

/** Offsets count from the start of the mapping. Beyond the file's end: PastEndError. */
export interface Mapping extends AsyncDisposable {
  readonly file: DsmFile
  readonly offset: number
  readonly length: number
  /** A copy, which is the caller's. */
  read(offset: number, length: number, options?: CallOptions): Promise<Uint8Array>
  readInto(offset: number, target: Uint8Array, options?: CallOptions): Promise<void>
  /** ReadOnlyMappingError if mapped for reading. `bytes` must not change until this settles. */
  write(offset: number, bytes: Uint8Array, options?: CallOptions): Promise<void>
  /**
   * Holds a range of one page here until it is released. In this version a range that crosses a page boundary is a PinConflictError.
   * Release it soon: a client that wants the page waits for it.
   */
  pin(offset: number, length: number, access: 'read' | 'write', options?: CallOptions): Promise<PinnedRange>
  /** What was written to the range before is durable on a majority's disks. Default: the whole mapping. */
  msync(offset?: number, length?: number, options?: CallOptions): Promise<void>
  /**
   * Flushes the mapping; using it afterwards is a ClosedError. When the flush fails it rejects and the mapping stays.
   * SessionExpiredError when unflushed bytes of its file were lost.
   */
  munmap(options?: CallOptions): Promise<void>
}

/** Valid until it is released; its memory stays, unseen by anybody, when its file is closed or its session lost before that. */
export interface PinnedRange extends Disposable {
  /** Shared memory, coherent while pinned; write to it only when pinned for writing. */
  readonly bytes: Uint8Array
  /** Somebody waits for the page. */
  readonly wanted: boolean
  /** Aborted when the session is gone: what is written from then on is never seen by anybody. */
  readonly lost: AbortSignal
  release(): void
}

export interface FaultStats {
  readonly count: number
  /** From the request to the grant. */
  readonly p50Us: number
  readonly p99Us: number
}

export interface ClientStats {
  readonly faults: { readonly read: FaultStats; readonly write: FaultStats; readonly upgrade: FaultStats }
  /** Page accesses that needed nobody. */
  readonly hits: number
  readonly grants: number
  readonly invalidations: number
  readonly downgrades: number
  /** Pages given up to another writer. */
  readonly handovers: number
  readonly writebacks: number
  readonly evictions: number
  /** Page bytes received and sent. */
  readonly bytesIn: number
  readonly bytesOut: number
  readonly frameBytesUsed: number
  readonly frameBytesCapacity: number
}
