/** A page table entry (kernel: pte and struct page in one). */
import type { Access } from '@quire/protocol'
import type { Frame } from './frames.js'

/** What may be done with a page without asking anyone. `modified`: this session owns it and may write. */
export type PageAccess = 'invalid' | 'shared' | 'modified'

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
export interface Order {
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
  access: PageAccess = 'invalid'
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
  /** Touched since the reclaim hand last passed. */
  accessed = false
  readonly waiters: PageWaiter[] = []
  readonly flushes: FlushWaiter[] = []
  /** The outstanding fault; 0: none. */
  req = 0
  /** Waits for a frame, or for the number of outstanding faults to fall. */
  queuedForFault = false
  order: Order | undefined

  constructor(
    readonly file: number,
    readonly index: number,
    readonly pageSize: number
  ) {}

  allows(access: Access): boolean {
    return this.access === 'modified' || (access === 'read' && this.access === 'shared')
  }

  get pinned(): boolean {
    return this.readPins + this.writePins > 0
  }

  /** May be dropped without losing anything or breaking a promise. */
  get isReclaimable(): boolean {
    return this.frame !== undefined && !this.dirty && !this.pinned && this.req === 0 && this.waiters.length === 0
  }
}
