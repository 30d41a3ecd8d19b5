/** A page table entry (kernel: pte and struct page in one). */
import type { Access } from '@quire/protocol'
import type { Frame, FrameProvider, PageAccess } from './frames.js'

/** Somebody who waits for access to a page. Exactly one of its functions is called, once, unless it is cancelled. */
export interface PageWaiter {
  readonly access: Access
  /** A pin keeps the page after it ran; while the leader wants the page back, it waits. */
  readonly pin: boolean
  /** Called with access in hand; nothing can take it away before this returns. A pin names `page` when it ends. */
  run(bytes: Uint8Array, page: Page): void
  fail(error: Error): void
}

/** What the leader has asked of this page, and is not answered yet. */
export interface Demotion {
  readonly type: 'invalidate' | 'revoke' | 'downgrade'
  readonly op: number
  /** Not before the grant for this request has arrived. */
  readonly after: number
}

/** Resolves a flush: everything that was written before it, up to writeback `seq` of `epoch`, is durable. */
export interface FlushWaiter {
  readonly epoch: number
  readonly seq: number
  done(): void
  fail(error: Error): void
}

export class Page {
  private currentAccess: PageAccess = 'invalid'
  frame: Frame | undefined
  /** Version of the bytes in the frame, before what was written here; 0: none, or never written by anyone. */
  version = 0
  /** The epoch under which this session owns the page, or owned it when it wrote the bytes that are still dirty; 0: neither. */
  epoch = 0
  /** The newest writeback that was sent under this epoch. */
  seq = 0
  /** The frame holds bytes that are not known to be durable. Stays with the page when access is lost, until they are. */
  dirty = false
  /** Written to since the newest writeback was taken. */
  changed = false
  /** A writeback message with the newest `seq` is on its way. */
  writing = false
  queuedForWrite = false
  readPins = 0
  writePins = 0
  /** Pins that are being made: the frame stays where it is. */
  reserved = 0
  /** Evictions under way: whoever comes waits for their end. */
  evicting = 0
  /** Touched since the reclaim hand last passed. */
  accessed = false
  /** Accesses since the last grant, and when that came (milliseconds). */
  uses = 0
  grantedAt = 0
  readonly waiters: PageWaiter[] = []
  readonly flushes: FlushWaiter[] = []
  /** The outstanding fault; 0: none. */
  req = 0
  /** Waits for a frame, or for the number of outstanding faults to fall. */
  queuedForFault = false
  demotion: Demotion | undefined
  /** Of the outstanding fault: a grant that was made before this discard began is not to be used. */
  discardedBy = 0

  constructor(
    readonly file: number,
    readonly index: number,
    readonly pageSize: number,
    private readonly memory: Pick<FrameProvider, 'protect'>
  ) {}

  // ---- access: these transitions are its only doors

  /** What the program may do with the page now. */
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
  }

  private setAccess(access: PageAccess): void {
    if (access === this.currentAccess) return
    this.currentAccess = access
    this.memory.protect(this, access)
  }

  // ---- state

  allows(access: Access): boolean {
    return this.access === 'modified' || (access === 'read' && this.access === 'shared')
  }

  get pinned(): boolean {
    return this.readPins + this.writePins > 0
  }

  /** Its frame must stay where it is. */
  get isHeld(): boolean {
    return this.pinned || this.reserved > 0
  }

  /** May be dropped without losing anything or breaking a promise. */
  get isReclaimable(): boolean {
    return this.frame !== undefined && !this.dirty && !this.isHeld && this.req === 0 && this.waiters.length === 0
  }

  /** What it holds is on its way as it is: no write came after the newest writeback was taken. */
  get isUnderWay(): boolean {
    return this.writing && !this.changed
  }

  /** Calls `done` when what it holds now, which is dirty, is durable. */
  awaitFlush(done: () => void, fail: (error: Error) => void): void {
    this.flushes.push({ epoch: this.epoch, seq: this.isUnderWay ? this.seq : this.seq + 1, done, fail })
  }

  /** There is a reason to have an entry for it. */
  get isNeeded(): boolean {
    if (this.access !== 'invalid' || this.dirty || this.req !== 0 || this.waiters.length > 0) return true
    return this.demotion !== undefined || this.isHeld || this.queuedForFault || this.evicting > 0
  }
}
