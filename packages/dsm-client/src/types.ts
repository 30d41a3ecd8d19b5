/**
 * The public API. Offsets and lengths are bytes from 0, as safe integers. Every async method takes `{ signal }` last.
 *
 * Errors that every call can give: InvalidArgumentError before anything happens; ClosedError after, or because of, a
 * close; SessionExpiredError when the session was lost that the file hung on; UnavailableError when nobody answered
 * within `faultTimeoutMs`; the signal's reason; and what a leader of another version says, as a RemoteError. Calls that
 * need pages: also BusyError, CacheFullError and CorruptionError. Calls that make bytes durable: also NoSpaceError.
 * What is asked of the leader: also QuotaExceededError and NoSpaceError. Wherever NoSpaceError is named,
 * NoDescriptorsError can come as well. The comments below name what is peculiar to a call. Synchronous calls throw. The
 * README has cause and remedy of each.
 */
import type { PrivateKey } from '@quire/net'
import type { LostRange } from '@quire/protocol'
import type { Logger } from 'pino'
import type { HistoryEvent } from './history.js'

export type { HistoryEvent, HistoryOp } from './history.js'

export interface CallOptions {
  /**
   * Rejects the call with the signal's reason (an AbortError if that is no Error); others that wait for the same page
   * go on. Any number of calls may share a signal: together they add one listener to it.
   */
  readonly signal?: AbortSignal
}

export interface DsmClientInit {
  /**
   * Multiaddrs that end in /p2p/<PeerId>, in a list, or in one text, separated by commas or white space. Any peer that
   * answers is enough; it names the others. InvalidArgumentError, before anything is dialed, for an address that nobody
   * can dial.
   */
  readonly peers: string | readonly string[]
  /**
   * Digest of the configuration that the cluster was founded from, as `quire init` and `quire status` print it. Peers
   * of other clusters are not used. Default: that of the first peer that answers.
   */
  readonly cluster?: string
  /**
   * libp2p identity, of the client alone: a key of a peer is refused. Default: a fresh Ed25519 key, which only a
   * cluster takes that lets in any client.
   */
  readonly privateKey?: PrivateKey
  /** Page frames held at most, in bytes, from 65,536. Default 64 MiB. */
  readonly cacheBytes?: number
  /**
   * How long the cluster keeps this client's pages for it when it is silent: 500 to 600,000. Default 10,000. If the
   * client dies, others that want those pages wait for as long. It has no influence on how soon a client notices that
   * its leader is dead. A session gets more where it could not be renewed in time: at least 16 round trips between the
   * cluster's peers, and 16 of this client to its leader if that is too far for what is asked. `session.ttlMs` says
   * what it is.
   */
  readonly sessionTtlMs?: number
  /**
   * How long a call waits for the cluster or for another client's pin; a call over many pages, for the next of them.
   * Default 30,000; then UnavailableError or BusyError.
   */
  readonly faultTimeoutMs?: number
  /** pino. Default: silent. */
  readonly logger?: Logger
  /**
   * Is told of every operation when it ends, for checkers. What it throws is reported as an uncaught exception and
   * changes nothing here. What is done under a write pin is one operation, at its release: a program that uses the same
   * bytes in other ways meanwhile is not judged rightly.
   */
  readonly history?: (event: HistoryEvent) => void
}

/**
 * `active`: the lease is valid. `suspect`: it ran out, and the cluster has not said whether the session lives: calls
 * wait. `expired`: the cluster has ended the session, everything that hung on it is dead; the client's next call starts
 * another.
 */
export type SessionState = 'active' | 'suspect' | 'expired'

export interface FileStat {
  readonly id: string
  /**
   * Where it was found, or last: of an open file whose path was taken away or given to another, still the old one.
   * Empty for an unnamed file.
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
  /** Create the file if there is none. */
  readonly create?: boolean
  /** With `create`: fail with FileExistsError if there is one. */
  readonly exclusive?: boolean
  /** Size in bytes of a file that is created; it reads as zeros. Default 0. */
  readonly size?: number
  /** An existing file is shortened to nothing. */
  readonly truncate?: boolean
  /** A power of two from 4,096 to 65,536. Default 4,096; another than the file has is an InvalidArgumentError. */
  readonly pageSize?: number
  /**
   * What is owned and handed over: single pages, with many readers at a time, or the file as a whole, by one client at
   * a time. Default 'page'; another than the file has is an InvalidArgumentError.
   */
  readonly unit?: 'page' | 'file'
}

/** Of a new file: see {@link OpenOptions}. */
export type CreateUnnamedOptions = Pick<OpenOptions, 'size' | 'pageSize' | 'unit' | 'signal'>

export interface DsmClientEvents {
  /** The session has expired; `detail.lost` was written and never made durable. */
  sessionlost: CustomEvent<{ readonly lost: readonly LostRange[] }>
  leaderchange: CustomEvent<{ readonly leader: string; readonly term: number }>
}

export interface DsmClient extends AsyncDisposable {
  /** This client's PeerId as text. */
  readonly peerId: string
  /** `expired` also after `close`. */
  readonly session: { readonly id: string; readonly state: SessionState; readonly ttlMs: number }
  /**
   * Commits that this session maps the file. NoSuchFileError, FileExistsError, InvalidArgumentError; with `truncate`,
   * BusyError as of `truncate`. After the session was lost, this and the other calls of the client begin a new one,
   * with the errors of createDsmClient.
   */
  open(path: string, options?: OpenOptions): Promise<DsmFile>
  /**
   * Creates a file that has no path, and opens it (Linux: O_TMPFILE). No other client can reach it, and no listing
   * shows it. The cluster deletes it when this client closes it, or when the session ends for any reason, unless
   * `DsmFile.link` has named it before: a program that is killed leaves nothing behind. Its `path`, and that of its
   * stat, is empty until it is named.
   */
  createUnnamed(options?: CreateUnnamedOptions): Promise<DsmFile>
  /** As it is now, by a majority's word. NoSuchFileError. */
  stat(path: string, options?: CallOptions): Promise<FileStat>
  /**
   * Files whose path starts with `prefix`, in order of path. Not one snapshot: files made meanwhile may or may not
   * appear. It rejects when the next file is asked for, also for a bad prefix: InvalidArgumentError for one that can
   * begin no path, such as text that is not in NFC. The prefix may end inside a part.
   */
  list(prefix?: string, options?: CallOptions): AsyncIterable<FileStat>
  /** Moves a file to another path and replaces what was there. NoSuchFileError. */
  rename(from: string, to: string, options?: CallOptions): Promise<void>
  /** Takes a path away. The file lives on until nobody has it open. NoSuchFileError. */
  unlink(path: string, options?: CallOptions): Promise<void>
  addEventListener<K extends keyof DsmClientEvents>(type: K, listener: (event: DsmClientEvents[K]) => void): void
  removeEventListener<K extends keyof DsmClientEvents>(type: K, listener: (event: DsmClientEvents[K]) => void): void
  stats(): ClientStats
  /**
   * Flushes all but unnamed files, which the cluster deletes; releases everything, ends the session. Calls that wait
   * fail with ClosedError. What cannot be flushed is tried again as long as it fails within `faultTimeoutMs`, or until
   * the signal aborts. Unlike a file, a client is closed also when this rejects: what is not durable then is lost, and
   * `sessionlost` tells what it is. SessionExpiredError when the session was lost before with unflushed bytes of files
   * that were still open.
   */
  close(options?: CallOptions): Promise<void>
}

export interface DsmFile extends AsyncDisposable {
  readonly id: string
  /** Under which it was opened, or linked. Empty for an unnamed file. */
  readonly path: string
  readonly pageSize: number
  readonly addressSpace: AddressSpace
  /** As it is now, by a majority's word. */
  stat(options?: CallOptions): Promise<FileStat>
  /** A copy, through the same cache as every mapping; shorter than `length` at the end of the file. */
  read(offset: number, length: number, options?: CallOptions): Promise<Uint8Array>
  /**
   * Extends the file if it must (the new size is committed before this resolves). The bytes are durable after `sync`.
   */
  write(offset: number, bytes: Uint8Array, options?: CallOptions): Promise<void>
  /**
   * Shrinks or grows the file. What is cut off is gone when this resolves, at every client; growing again reads zeros.
   * Waits for pins on what is cut off. BusyError when they do not end: then, as when it is given up, it may still
   * happen, as soon as they do, and who asks for the size meanwhile waits for it. Another client's private copies go a
   * moment later.
   */
  truncate(size: number, options?: CallOptions): Promise<void>
  /**
   * Reads as zeros afterwards; the size stays. Whole pages are gone when this resolves; what it leaves of others is
   * durable after `sync`. BusyError as with `truncate`; the hole's ends, where they are no whole pages, may be zeros by
   * then.
   */
  punchHole(offset: number, length: number, options?: CallOptions): Promise<void>
  /**
   * Everything that this client has written to the file is durable on a majority's disks. NoSpaceError; what is not
   * durable stays, and can be flushed again.
   */
  sync(options?: CallOptions): Promise<void>
  /**
   * Names a file of `createUnnamed`, and replaces what the path led to, as `rename` does (Linux: linkat, but that one
   * does not replace). Everything that this client wrote to the file before the call is durable before the path leads
   * to it. From then on the file is like any other, and outlives the session. NoSpaceError as with `sync`;
   * InvalidArgumentError for a file that has, or had, another path. If the call is aborted or times out, or the session
   * is lost meanwhile, the file may have been named all the same. Linking it again to its own path changes nothing.
   */
  link(path: string, options?: CallOptions): Promise<void>
  /** InvalidArgumentError also where `length` is not given and the file ends at or before `offset`. */
  mmap(options?: MmapOptions): Promise<Mapping>
  /**
   * Flushes, and gives the file up with its last handle. Its mappings are dead. When the flush fails it rejects and the
   * file stays open, with its mappings. Who gives up waiting does not stop it. SessionExpiredError when unflushed bytes
   * of it were lost.
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
  /**
   * `private`: what is written stays with this mapping; pages that were not written to follow the file. A copy survives
   * when others write to the page and dies when the file is truncated there or its whole page punched, at another
   * client a moment after that has resolved. Default 'shared'.
   */
  readonly flags?: 'shared' | 'private'
}

/** A mapping of a file of the cluster. */
export interface Mapping extends LocalMapping {
  readonly file: DsmFile
}

/**
 * Offsets count from the start of the mapping. Beyond it: InvalidArgumentError. Within it, but beyond the file's end:
 * PastEndError; of tryRead and tryWrite, false.
 */
export interface LocalMapping extends AsyncDisposable {
  readonly offset: number
  readonly length: number
  /** A copy, which is the caller's. */
  read(offset: number, length: number, options?: CallOptions): Promise<Uint8Array>
  readInto(offset: number, target: Uint8Array, options?: CallOptions): Promise<void>
  /** ReadOnlyMappingError if mapped for reading. `bytes` must not change until this settles. */
  write(offset: number, bytes: Uint8Array, options?: CallOptions): Promise<void>
  /**
   * Synchronous: false, and nothing read, unless every page is readable here now. `target` may be written to all the
   * same.
   */
  tryRead(offset: number, target: Uint8Array): boolean
  /**
   * Synchronous: false, and nothing written, unless every page is owned here now. ReadOnlyMappingError if mapped for
   * reading.
   */
  tryWrite(offset: number, bytes: Uint8Array): boolean
  /**
   * Holds a range here, in one piece of memory, until it is released: others that want its pages wait. Pages are
   * acquired in ascending order.
   *
   * BusyError when another client's pin is in the way for too long. Two clients' pins may wait for each other; this one
   * may wait for a pin of this program, if that has one of its pages and another client wants it. PinConflictError when
   * the range cannot be laid out beside live pins; CacheFullError when it is larger than the cache;
   * ReadOnlyMappingError for 'write' if mapped for reading.
   */
  pin(offset: number, length: number, access: 'read' | 'write', options?: CallOptions): Promise<PinnedRange>
  /**
   * What was written to the range before is durable on a majority's disks. Default: the whole mapping. NoSpaceError;
   * what is not durable stays.
   */
  msync(offset?: number, length?: number, options?: CallOptions): Promise<void>
  /**
   * Flushes the mapping; using it afterwards is a ClosedError. When the flush fails it rejects and the mapping stays.
   * SessionExpiredError when unflushed bytes of its file were lost.
   */
  munmap(options?: CallOptions): Promise<void>
}

/**
 * One client's pages of one file: the core of the API that this system comes from. Ranges are bytes, rounded out to
 * pages; a length of 0 means to the end. Pages under a pin stay where they are until it ends.
 */
export interface AddressSpace {
  /**
   * The next access faults again, also one that waits for a hook; dirty bytes stay in the cache. `evenCows`: private
   * copies go, too (kernel: unmap_mapping_range).
   */
  unmapMappingRange(start: number, length: number, options?: { readonly evenCows?: boolean }): void
  /**
   * Starts IO for dirty pages; resolves when it is started, which for a page that is being written and has changed is
   * when that write has ended (kernel: filemap_fdatawrite_range).
   */
  writeMappingRange(start: number, length: number, options?: CallOptions): Promise<void>
  /**
   * Waits for IO, which it starts for dirty pages, then drops the pages. Never discards bytes: rejects and keeps the
   * pages when IO failed (kernel: invalidate_inode_pages2_range). BusyError when a pin in the range does not end.
   */
  evictMappingRange(start: number, length: number, options?: CallOptions): Promise<void>
}

/** A fault that a program's hooks resolve. */
export interface PageFault {
  /** The first page, and how many. */
  readonly index: number
  readonly count: number
  readonly access: 'read' | 'write'
  /**
   * A page each. For `noPage`: zeros, to be filled; copied into the pages when the hook is done, and not looked at
   * after that. For `wpPage`: a copy of what the pages hold, which is not taken back.
   */
  readonly frames: readonly Uint8Array[]
  /**
   * Aborted when nobody waits for the pages any more, or they are evicted: what the hook does from then on is not
   * looked at.
   */
  readonly signal: AbortSignal
}

export interface DirtyPage {
  readonly index: number
  /** A copy, which is the hook's. */
  readonly bytes: Uint8Array
}

/**
 * Where the pages of an address space come from and go to. What a hook rejects with, the access or the flush rejects
 * with.
 */
export interface VmOperations {
  /**
   * Access to a page that is not here or was unmapped: fill `frames`. For 'write', the pages may be written to when
   * this resolves (kernel: do_no_page). A page that was unmapped with bytes that are not written back yet keeps those,
   * whatever is filled in.
   */
  noPage(fault: PageFault): Promise<void>
  /** Write access to a page that is here, readable: when this resolves, it may be written to (kernel: do_wp_page). */
  wpPage(fault: PageFault): Promise<void>
  /** When this resolves, the bytes are where they belong. Rejecting keeps the pages dirty. */
  writePages(pages: readonly DirtyPage[]): Promise<void>
}

export interface AddressSpaceInit {
  /** Bytes. */
  readonly size: number
  readonly ops: VmOperations
  /** A power of two from 4,096 to 65,536. Default 4,096. */
  readonly pageSize?: number
  /** Page frames held at most, in bytes, from 65,536. Default 64 MiB. */
  readonly cacheBytes?: number
  /**
   * How long a call waits for a hook, or for a pin; a call over many pages, for the next of them. Default 30,000; then
   * UnavailableError or BusyError.
   */
  readonly faultTimeoutMs?: number
}

/** An address space over a program's own hooks. */
export interface LocalAddressSpace extends AddressSpace, AsyncDisposable {
  readonly size: number
  /**
   * `length` may reach beyond the end, up to later growth. Throws InvalidArgumentError, and ClosedError when the space
   * is closed.
   */
  mmap(options?: Omit<MmapOptions, 'signal'>): LocalMapping
  /**
   * Pages beyond the new end are gone, dirty or not, private copies included; the hooks are not told. Growing shows
   * what `noPage` gives. The rest of the last page becomes zeros, for which it may have to be faulted in: when that
   * fails, nothing has changed. Truncations take place one after the other. Each waits for pins and writes of what it
   * cuts off, which is out of reach from the beginning; BusyError or UnavailableError when they do not end, and the
   * signal, leave `size` as it is by then, and the rest follows when they end.
   */
  truncate(size: number, options?: CallOptions): Promise<void>
  /**
   * Writes everything back; calls that wait fail with ClosedError, and so does whatever comes while it goes on.
   * Rejects, and stays open, when that fails.
   */
  close(options?: CallOptions): Promise<void>
}

/**
 * Valid until it is released; its memory stays, unseen by anybody, when its file is closed or its session lost before
 * that.
 */
export interface PinnedRange extends Disposable {
  /**
   * Shared memory, coherent while pinned; write to it only when pinned for writing. APIs that refuse shared memory,
   * such as `crypto.subtle`, take a copy: `bytes.slice()`.
   */
  readonly bytes: Uint8Array
  /** Somebody waits for the page. */
  readonly wanted: boolean
  /** Aborted when the session is gone: what is written from then on is never seen by anybody. */
  readonly lost: AbortSignal
  /**
   * With a history: InvalidArgumentError when bytes were written to that are pinned for reading. They are released all
   * the same.
   */
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
