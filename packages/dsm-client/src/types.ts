/**
 * The public API. Offsets and lengths are bytes from 0, as safe integers. Every async method takes `{ signal }` last.
 *
 * Every call can give these errors: InvalidArgumentError before anything happens; ClosedError during or after a close;
 * SessionExpiredError after the loss of the file's session; UnavailableError if the cluster does not answer within
 * `faultTimeoutMs`; the signal's reason; and a RemoteError for an error of a leader of another version. Calls that need
 * pages also give BusyError, CacheFullError and CorruptionError. Calls that make bytes durable also give NoSpaceError.
 * Requests to the leader also give QuotaExceededError and NoSpaceError. NoDescriptorsError can replace NoSpaceError
 * everywhere. The comments below name further errors of each call. Synchronous calls throw. The README lists cause and
 * remedy of each error.
 */
import type { PrivateKey } from '@quire/net'
import type { LostRange } from '@quire/protocol'
import type { Logger } from 'pino'
import type { HistoryEvent } from './history.js'

export type { HistoryEvent, HistoryOp } from './history.js'

export interface CallOptions {
  /**
   * Rejects the call with the signal's reason, or with an AbortError if the reason is no Error. Other calls that wait
   * for the same page continue. Any number of calls may share a signal: together they add one listener to it.
   */
  readonly signal?: AbortSignal
}

export interface DsmClientInit {
  /**
   * Multiaddrs that end in /p2p/<PeerId>, as a list, or as one text that separates them by commas or white space. The
   * client needs one peer that answers, which names the others. InvalidArgumentError, before the client dials, for an
   * address that cannot be dialed.
   */
  readonly peers: string | readonly string[]
  /**
   * Digest of the configuration that founded the cluster, as `quire init` and `quire status` print it. The client uses
   * no peers of other clusters. Default: the digest of the first peer that answers.
   */
  readonly cluster?: string
  /**
   * The client's own libp2p identity: the client refuses the key of a peer. Default: a fresh Ed25519 key, which only a
   * cluster accepts that admits every client.
   */
  readonly privateKey?: PrivateKey
  /**
   * The most bytes of page frames, from 65,536. Default 64 MiB. The client keeps up to a sixteenth besides, to tell
   * which bytes have changed.
   */
  readonly cacheBytes?: number
  /**
   * How long the cluster keeps this client's pages for it while it is silent: 500 to 600,000. Default 10,000. If the
   * client dies, other clients wait this long for its pages. The setting does not change how soon a client notices a
   * dead leader. A session gets more time if it could not be renewed otherwise: at least 16 round trips between the
   * cluster's peers, and 16 round trips from this client to its leader. `session.ttlMs` says how much it got.
   */
  readonly sessionTtlMs?: number
  /**
   * How long a call waits for the cluster or for another client's pin; a call over many pages, for the next of them.
   * Then it rejects with UnavailableError or BusyError. Default 30,000.
   */
  readonly faultTimeoutMs?: number
  /** A pino logger. Default: silent. */
  readonly logger?: Logger
  /**
   * Receives every operation when it ends, for checkers. An error that it throws becomes an uncaught exception and
   * changes nothing here. All accesses under a write pin are one operation, at the release of the pin. A history cannot
   * describe a program that accesses the same bytes in other ways meanwhile.
   */
  readonly history?: (event: HistoryEvent) => void
  /**
   * Runs the client in a worker thread of its own. A program that computes for a minute keeps its session then, and
   * other clients get the pages that it has not pinned. Calls cost more, except for accesses to pages that the program
   * has used before: these need no message between the threads. Default false: the client runs on the calling thread.
   */
  readonly thread?: boolean
}

/**
 * `active`: the lease is valid. `suspect`: the lease ran out, and the cluster has not said whether the session lives;
 * calls wait. `expired`: the cluster has ended the session, and all its files and mappings are dead. The client's next
 * call starts another session.
 */
export type SessionState = 'active' | 'suspect' | 'expired'

export interface FileStat {
  readonly id: string
  /**
   * The path by which the file was found, or its last path: an open file whose path was removed, or given to another
   * file, still shows the old path. Empty for an unnamed file.
   */
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
  /** Creates the file if it does not exist. */
  readonly create?: boolean
  /** With `create`: fails with FileExistsError if the file exists. */
  readonly exclusive?: boolean
  /** Size of a new file in bytes. The file reads as zeros. Default 0. */
  readonly size?: number
  /** Shortens an existing file to nothing. */
  readonly truncate?: boolean
  /**
   * A power of two from 4,096 to 65,536. Default 4,096 for a new file. InvalidArgumentError if an existing file has
   * another page size.
   */
  readonly pageSize?: number
  /**
   * The unit of ownership: single pages, each with many readers at a time, or the whole file, with one client at a
   * time. Default 'page' for a new file. InvalidArgumentError if an existing file has another unit.
   */
  readonly unit?: 'page' | 'file'
}

/** Options of a new file: see {@link OpenOptions}. */
export type CreateUnnamedOptions = Pick<OpenOptions, 'size' | 'pageSize' | 'unit' | 'signal'>

export interface DsmClientEvents {
  /** The session has expired. `detail.lost` lists written ranges that never became durable. */
  sessionlost: CustomEvent<{ readonly lost: readonly LostRange[] }>
  leaderchange: CustomEvent<{ readonly leader: string; readonly term: number }>
}

export interface DsmClient extends AsyncDisposable {
  /** This client's PeerId as text. */
  readonly peerId: string
  /** The state is `expired` also after `close`. */
  readonly session: { readonly id: string; readonly state: SessionState; readonly ttlMs: number }
  /**
   * Opens a file, and commits that this session maps it. NoSuchFileError, FileExistsError, InvalidArgumentError; with
   * `truncate`, BusyError as for `truncate`. After the loss of a session, this and the other calls of the client begin
   * a new session, with the errors of createDsmClient.
   */
  open(path: string, options?: OpenOptions): Promise<DsmFile>
  /**
   * Creates a file without a path and opens it (Linux: O_TMPFILE). No other client can reach the file, and no listing
   * shows it. The cluster deletes it when this client closes it, or when the session ends for any reason, unless
   * `DsmFile.link` has named it before: a program that is killed leaves nothing behind. The `path` of the file and of
   * its stat is empty until then.
   */
  createUnnamed(options?: CreateUnnamedOptions): Promise<DsmFile>
  /** Returns the file's stat as a majority knows it now. NoSuchFileError. */
  stat(path: string, options?: CallOptions): Promise<FileStat>
  /**
   * Lists the files whose path starts with `prefix`, in the order of their paths. It is not a snapshot: files that
   * are created meanwhile may or may not appear. `prefix` may end inside a part of a path. Errors come when the program
   * asks for the next file; among them InvalidArgumentError for a prefix that can begin no path, such as text that is
   * not in NFC.
   */
  list(prefix?: string, options?: CallOptions): AsyncIterable<FileStat>
  /** Moves a file to another path, and replaces the file there. NoSuchFileError. */
  rename(from: string, to: string, options?: CallOptions): Promise<void>
  /** Removes a path. The file lives on while a client has it open. NoSuchFileError. */
  unlink(path: string, options?: CallOptions): Promise<void>
  addEventListener<K extends keyof DsmClientEvents>(type: K, listener: (event: DsmClientEvents[K]) => void): void
  removeEventListener<K extends keyof DsmClientEvents>(type: K, listener: (event: DsmClientEvents[K]) => void): void
  stats(): ClientStats
  /**
   * Flushes all files except unnamed ones, which the cluster deletes; releases everything and ends the session. Waiting
   * calls fail with ClosedError. The client repeats flushes that fail, for `faultTimeoutMs` or until the signal aborts.
   * Unlike a file, a client is closed even if this rejects: bytes that are not durable are lost then, and `sessionlost`
   * names them. SessionExpiredError if the session was lost before with unflushed bytes of files that were still open.
   */
  close(options?: CallOptions): Promise<void>
}

export interface DsmFile extends AsyncDisposable {
  readonly id: string
  /** The path by which the program opened or linked the file. Empty for an unnamed file. */
  readonly path: string
  readonly pageSize: number
  readonly addressSpace: AddressSpace
  /** Returns the file's stat as a majority knows it now. */
  stat(options?: CallOptions): Promise<FileStat>
  /** Returns a copy, through the same cache as every mapping. It is shorter than `length` at the end of the file. */
  read(offset: number, length: number, options?: CallOptions): Promise<Uint8Array>
  /**
   * Writes bytes, and extends the file if it is too short. A new size is committed before this resolves. The bytes are
   * durable after `sync`.
   */
  write(offset: number, bytes: Uint8Array, options?: CallOptions): Promise<void>
  /**
   * Shrinks or grows the file. The bytes beyond the new end are gone at every client when this resolves; growing again
   * reads zeros. Waits for pins beyond the new end, and rejects with BusyError if they do not end. After that, or if
   * the program gives the call up, the truncation may still take place as soon as the pins end, and calls that ask for
   * the size wait for it. Private copies of other clients go a moment later.
   */
  truncate(size: number, options?: CallOptions): Promise<void>
  /**
   * Makes a range read as zeros. The size stays. Whole pages are gone when this resolves; zeros in other pages are
   * durable after `sync`. BusyError as for `truncate`; the parts of pages at the ends of the hole may be zeros by then.
   */
  punchHole(offset: number, length: number, options?: CallOptions): Promise<void>
  /**
   * Resolves when everything that this client has written to the file is durable on a majority's disks. NoSpaceError:
   * bytes that are not durable stay, and can be flushed again.
   */
  sync(options?: CallOptions): Promise<void>
  /**
   * Returns the CRC-32C of a range as the cluster has stored it: without what clients have not flushed. The leader
   * computes it, so no bytes travel: one MiB after the other, and other clients may write in between. PastEndError if
   * the range ends beyond the file; CorruptionError if no peer has a good copy of a damaged page.
   */
  checksum(offset: number, length: number, options?: CallOptions): Promise<number>
  /**
   * Names a file of `createUnnamed`, and replaces the file at that path, as `rename` does (Linux: linkat, which does
   * not replace). Everything that this client wrote to the file before the call is durable before the path leads to it.
   * From then on the file is like any other, and outlives the session. NoSpaceError as for `sync`; InvalidArgumentError
   * for a file that has, or had, another path. If the call is aborted or times out, or the session is lost meanwhile,
   * the file may have been named all the same. Linking it again to its own path changes nothing.
   */
  link(path: string, options?: CallOptions): Promise<void>
  /** InvalidArgumentError also if `length` is absent and the file ends at or before `offset`. */
  mmap(options?: MmapOptions): Promise<Mapping>
  /**
   * Flushes, and gives the file up with its last handle. Its mappings are dead then. If the flush fails, this rejects,
   * and the file stays open with its mappings. Aborting the call does not stop the close. SessionExpiredError if
   * unflushed bytes of the file were lost.
   */
  close(options?: CallOptions): Promise<void>
}

export interface MmapOptions extends CallOptions {
  /** A multiple of the page size. Default 0. */
  readonly offset?: number
  /** May reach beyond the end of the file, for its later growth. Default: to the end of the file. */
  readonly length?: number
  /** Default 'read-write'. */
  readonly prot?: 'read' | 'read-write'
  /**
   * `private`: writes stay with this mapping, and pages without writes follow the file. A copy survives the writes of
   * other clients to its page. It dies when the file is truncated there, or its whole page punched; at another client,
   * a moment after that has resolved. Default 'shared'.
   */
  readonly flags?: 'shared' | 'private'
}

/** See {@link LocalMapping.advise}. */
export type Advice = 'normal' | 'sequential' | 'random' | 'willneed' | 'dontneed'

/** A mapping of a file of the cluster. */
export interface Mapping extends LocalMapping {
  readonly file: DsmFile
}

/**
 * A mapping. Offsets count from its start. An access beyond its end is an InvalidArgumentError. An access within it but
 * beyond the end of the file is a PastEndError; tryRead and tryWrite return false.
 */
export interface LocalMapping extends AsyncDisposable {
  readonly offset: number
  readonly length: number
  /** Returns a copy, which belongs to the caller. */
  read(offset: number, length: number, options?: CallOptions): Promise<Uint8Array>
  readInto(offset: number, target: Uint8Array, options?: CallOptions): Promise<void>
  /** `bytes` must not change until this settles. ReadOnlyMappingError if mapped for reading. */
  write(offset: number, bytes: Uint8Array, options?: CallOptions): Promise<void>
  /**
   * Reads at once if every page is readable here and now. Otherwise returns false without a read, although `target` may
   * have changed.
   */
  tryRead(offset: number, target: Uint8Array): boolean
  /**
   * Writes at once if this client owns every page now. Otherwise returns false without a write. ReadOnlyMappingError if
   * mapped for reading.
   */
  tryWrite(offset: number, bytes: Uint8Array): boolean
  /**
   * Holds a range here, in one piece of memory, until its release. Other clients that want its pages wait. The client
   * asks for all pages at once, and takes hold of them in ascending order.
   *
   * BusyError if another client's pin is in the way for too long. The pins of two clients may wait for each other. This
   * pin may also wait for another pin of this program that has one of its pages, while another client wants that page.
   * PinConflictError if the range cannot be laid out beside live pins; CacheFullError if it is larger than the cache;
   * ReadOnlyMappingError for 'write' if mapped for reading.
   */
  pin(offset: number, length: number, access: 'read' | 'write', options?: CallOptions): Promise<PinnedRange>
  /**
   * Says how the program will use the range (kernel: madvise). It never changes what a read returns.
   *
   * `normal`, `sequential` and `random` concern reads of the whole mapping. The client gets pages ahead of reads that
   * follow each other, forwards, backwards or with equal gaps: up to 1 MiB, and not more than an eighth of the cache.
   * After `sequential` it does so with the second read and with the whole 1 MiB, after `random` never. A mapping begins
   * with `normal`.
   *
   * `willneed` asks for the pages, up to half of the cache, and does not wait for them. `dontneed` resolves when the
   * client has dropped the pages; dirty ones become durable first. BusyError if one of them is pinned for too long, and
   * NoSpaceError as for `msync`.
   */
  advise(offset: number, length: number, advice: Advice, options?: CallOptions): Promise<void>
  /**
   * Resolves when everything that was written to the range before is durable on a majority's disks. Default: the whole
   * mapping. NoSpaceError: bytes that are not durable stay.
   */
  msync(offset?: number, length?: number, options?: CallOptions): Promise<void>
  /**
   * Flushes the mapping and removes it; later uses give ClosedError. If the flush fails, this rejects, and the mapping
   * stays. SessionExpiredError if unflushed bytes of its file were lost.
   */
  munmap(options?: CallOptions): Promise<void>
}

/**
 * One client's pages of one file, with the calls of a kernel's address space. Ranges are bytes, rounded out to pages; a
 * length of 0 means to the end. Pages under a pin keep their place until it ends.
 */
export interface AddressSpace {
  /**
   * Makes the next access fault again. That includes accesses that wait for a hook. Dirty bytes stay in the cache.
   * `evenCows`: private copies go, too (kernel: unmap_mapping_range).
   */
  unmapMappingRange(start: number, length: number, options?: { readonly evenCows?: boolean }): void
  /**
   * Starts the IO of dirty pages, and resolves when it has started (kernel: filemap_fdatawrite_range). A page that has
   * changed during a write starts again when that write ends.
   */
  writeMappingRange(start: number, length: number, options?: CallOptions): Promise<void>
  /**
   * Writes dirty pages, waits for the IO, and then drops all pages of the range (kernel:
   * invalidate_inode_pages2_range). It never discards bytes: if the IO fails, it rejects and keeps the pages. BusyError
   * if a pin in the range does not end.
   */
  evictMappingRange(start: number, length: number, options?: CallOptions): Promise<void>
}

export interface PinnedRange extends Disposable {
  /**
   * Shared memory, coherent while it is pinned. Write to it only under a pin for writing. APIs that refuse shared
   * memory, such as `crypto.subtle`, need a copy: `bytes.slice()`.
   */
  readonly bytes: Uint8Array
  /** Another client waits for a page of the range. */
  readonly wanted: boolean
  /** Aborts when the session is gone: no client ever sees later writes. */
  readonly lost: AbortSignal
  /**
   * Ends the pin. With a history: throws InvalidArgumentError if the program wrote to bytes that are pinned for
   * reading. The pin ends all the same.
   */
  release(): void
}

export interface FaultStats {
  readonly count: number
  /** From the request to the grant, in microseconds. */
  readonly p50Us: number
  readonly p99Us: number
}

/** How a client reaches the leader. */
export interface LeaderPath {
  /** `none`: not at the moment. `relayed`: through another peer, because the leader's own addresses do not answer. */
  readonly path: 'direct' | 'relayed' | 'none'
  /** The PeerId of the peer that relays. */
  readonly relay: string | undefined
}

/** A page that other clients use as well. */
export interface PageContention {
  readonly path: string
  /** Where the page begins in the file, in bytes; 0 for a file that is owned as a whole. */
  readonly offset: number
  /**
   * How often this client gave up access to the page, or to the file, because the leader asked for it: for another
   * client's access, or for a truncate or punch of any client, this one included.
   */
  readonly taken: number
}

export interface ClientStats extends LeaderPath {
  readonly faults: { readonly read: FaultStats; readonly write: FaultStats; readonly upgrade: FaultStats }
  /** Accesses to pages that needed no fault. */
  readonly hits: number
  readonly grants: number
  readonly invalidations: number
  readonly downgrades: number
  /** Pages that went to another writer. */
  readonly handovers: number
  readonly writebacks: number
  /** Writebacks among them that carried only the changed bytes of their page. */
  readonly diffs: number
  readonly evictions: number
  /** Pages that arrived before the program asked for them. They count as read faults, too. */
  readonly readAheads: number
  /** Pages among them that went again before the program read them. */
  readonly readAheadsWasted: number
  /** Bytes of pages received. */
  readonly bytesIn: number
  /** Bytes of pages sent. */
  readonly bytesOut: number
  readonly frameBytesUsed: number
  readonly frameBytesCapacity: number
  /**
   * At most eight pages of open files: those that others have taken most often, and more than once. Clients that write
   * to different bytes of one page (false sharing) find it here.
   */
  readonly contended: readonly PageContention[]
}
