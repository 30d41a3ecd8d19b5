/** A page table entry (kernel: pte and struct page in one). */
import type { Access } from '@quire/protocol'
import type { Frame, FrameProvider, PageAccess } from './frames.js'
import type { ReadAheadObserver } from './read-ahead.js'

/** An access that waits for its page. The table calls exactly one of its functions, once, unless it is withdrawn. */
export interface PageWaiter {
  readonly access: Access
  /** A pin keeps the page after `run`. It waits while the leader demotes the page. */
  readonly pin: boolean
  /** `run` does not use the page: the program will need it soon, and its access waits for itself. */
  readonly isPrefetch?: boolean
  /** A prefetch that fails rather than wait for a frame or for other faults. */
  readonly isOptional?: boolean
  /** Runs with access in hand: nothing takes it away before `run` returns. A pin passes `page` to `unpin` later. */
  run(bytes: Uint8Array, page: Page): void
  fail(error: Error): void
}

/** An order of the leader to give access up, not answered yet. */
export interface Demotion {
  readonly type: 'invalidate' | 'revoke' | 'downgrade'
  readonly op: number
  /** The order takes effect after the grant that answers this request. */
  readonly after: number
}

/** A flush that ends when writeback `seq` of `epoch`, and with it every earlier write, is durable. */
export interface FlushWaiter {
  readonly epoch: number
  readonly seq: number
  done(): void
  fail(error: Error): void
}

/** What a page needs of the memory that holds its bytes. */
export type PageMemory = Pick<FrameProvider, 'isMapped' | 'protect' | 'takeUsed'>

/** The state of one page at this client. */
export class Page {
  private currentAccess: PageAccess = 'invalid'
  private currentMapped: PageAccess = 'invalid'
  private mappedBytes = 0
  frame: Frame | undefined
  /** Version of the bytes in the frame, local writes aside. 0: no bytes, or bytes that no client ever wrote. */
  version = 0
  /** The epoch under which this session owns the page, or owned it when it wrote the dirty bytes. 0: neither. */
  epoch = 0
  /** Number of the newest writeback sent under this epoch. */
  seq = 0
  /** The frame holds bytes that are not known to be durable. It stays true without access, until they are. */
  dirty = false
  /** The program has written to the page since the newest writeback copied its bytes. */
  changed = false
  /** The writeback with the newest `seq` is not acknowledged. */
  writing = false
  queuedForWrite = false
  readPins = 0
  writePins = 0
  /** Pins in the making that laid the page out: the frame must stay in its place. */
  reserved = 0
  /** Evictions under way: new accesses wait for their end. */
  evicting = 0
  /** Accessed since the reclaim hand last passed. */
  accessed = false
  /** The page was read ahead, and the program has not read it yet. */
  readAhead: ReadAheadObserver | undefined
  /** Accesses since the last grant that have changed something, as far as the client can tell. */
  changes = 0
  /** When the last grant arrived, in milliseconds. */
  grantedAt = 0
  readonly waiters: PageWaiter[] = []
  readonly flushes: FlushWaiter[] = []
  /** Number of the outstanding fault; 0: none. */
  req = 0
  /** The fault waits for a frame or for another fault to end. */
  queuedForFault = false
  demotion: Demotion | undefined
  /**
   * The client must not use a grant for the outstanding fault that the leader made before this discard. 0: any will do.
   */
  discardedBy = 0

  constructor(
    readonly file: number,
    readonly index: number,
    readonly pageSize: number,
    readonly space: number,
    private readonly memory: PageMemory
  ) {}

  // ---- access: these transitions are its only doors

  /** What the program may do with the page now, by calls that look at the page table. */
  get access(): PageAccess {
    return this.currentAccess
  }

  /** The backend has granted access: the program may read, or own the page and write. */
  grant(access: Access): void {
    this.setAccess(access === 'write' ? 'modified' : 'shared')
  }

  /** Write-protects the page. A page without access stays without. */
  downgrade(): void {
    if (this.currentAccess === 'modified') this.setAccess('shared')
  }

  /** Takes all access away. The bytes stay. */
  invalidate(): void {
    this.setAccess('invalid')
    this.readAhead?.wasted()
    this.readAhead = undefined
  }

  /** The program uses the page. */
  touch(): void {
    this.accessed = true
    if (this.readAhead === undefined) return
    this.readAhead.used()
    this.readAhead = undefined
  }

  private setAccess(access: PageAccess): void {
    this.currentAccess = access
    if (access === 'invalid') this.unmap()
    else if (access === 'shared') this.writeProtect()
  }

  // ---- the mapping (kernel: the pte), through which a program uses the page without the page table

  /**
   * What the program may do without the page table. Never more than `access`. `modified` only while the page is dirty,
   * and has bytes that no writeback has copied: so a write that the table does not see changes nothing in the table.
   */
  get mapped(): PageAccess {
    return this.currentMapped
  }

  /** The program has used the page, and may go on by itself. `bytes`: so many of the page lie within the file. */
  map(bytes: number): void {
    if (!this.memory.isMapped || bytes <= 0) return
    const isWritten = this.currentAccess === 'modified' && this.dirty && this.changed
    this.setMapped(isWritten ? 'modified' : 'shared', Math.min(bytes, this.pageSize))
  }

  /** The next write goes through the table (kernel: page_mkclean). Returns when writes under way are over. */
  writeProtect(): void {
    if (this.currentMapped === 'modified') this.setMapped('shared', this.mappedBytes)
  }

  /** The next access goes through the table. Returns when accesses under way are over. */
  unmap(): void {
    if (this.currentMapped !== 'invalid') this.setMapped('invalid', 0)
  }

  private setMapped(mapped: PageAccess, bytes: number): void {
    if (mapped === this.currentMapped && bytes === this.mappedBytes) return
    this.currentMapped = mapped
    this.mappedBytes = bytes
    this.memory.protect(this, mapped, bytes)
  }

  /** Whether the program has used the page since the last call (kernel: page_referenced). */
  takeAccessed(): boolean {
    const accessed = this.accessed
    this.accessed = false
    return (this.currentMapped !== 'invalid' && this.memory.takeUsed(this)) || accessed
  }

  // ---- state

  allows(access: Access): boolean {
    return this.access === 'modified' || (access === 'read' && this.access === 'shared')
  }

  get pinned(): boolean {
    return this.readPins + this.writePins > 0
  }

  /** The frame must stay in its place. */
  get isHeld(): boolean {
    return this.pinned || this.reserved > 0
  }

  /** Dropping the page loses no bytes and breaks no promise. */
  get isReclaimable(): boolean {
    return this.frame !== undefined && !this.dirty && !this.isHeld && this.req === 0 && this.waiters.length === 0
  }

  /** A writeback with the current bytes is on its way: the program has not written since it left. */
  get isUnderWay(): boolean {
    return this.writing && !this.changed
  }

  /**
   * Calls `done` when the current bytes are durable. The page is dirty. The next writeback has `seq + 1`, or more in a
   * file that is owned as a whole: each writeback that covers these bytes is at least this one.
   */
  awaitFlush(done: () => void, fail: (error: Error) => void): void {
    this.flushes.push({ epoch: this.epoch, seq: this.isUnderWay ? this.seq : this.seq + 1, done, fail })
  }

  /** The page table still needs an entry for the page. */
  get isNeeded(): boolean {
    if (this.access !== 'invalid' || this.dirty || this.req !== 0 || this.waiters.length > 0) return true
    return this.demotion !== undefined || this.isHeld || this.queuedForFault || this.evicting > 0
  }
}
