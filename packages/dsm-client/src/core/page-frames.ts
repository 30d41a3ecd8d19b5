/** Memory for pages and for private copies. */
import type { AddressSpacePages } from './address-space.js'
import { FrameWaiters } from './frame-waiters.js'
import type { Frame, FrameProvider } from './frames.js'
import type { Page } from './page.js'
import { ResidentPages } from './resident-pages.js'

export interface PageFramesInit {
  readonly frames: FrameProvider
  /** Drops a page that can be dropped without losing anything. */
  readonly evict: (victim: Page) => void
  readonly writeBack: (pages: readonly Page[]) => void
}

/**
 * Finds a frame for everything that needs one.
 *
 * It drops clean pages on the way. When only dirty pages are left, it starts to write some back, and the caller waits.
 */
export class PageFrames {
  private readonly resident: ResidentPages
  private readonly waiters: FrameWaiters
  private readonly evict: (victim: Page) => void

  constructor({ frames, evict, writeBack }: PageFramesInit) {
    this.resident = new ResidentPages(frames)
    this.waiters = new FrameWaiters({ resident: this.resident, evict, writeBack })
    this.evict = evict
  }

  get capacityBytes(): number {
    return this.resident.capacityBytes
  }

  get usedBytes(): number {
    return this.resident.usedBytes
  }

  /** A search for a frame has failed, and nothing has happened since that could change its result. */
  get isStarved(): boolean {
    return this.waiters.isStarved
  }

  /** Gives the page a frame unless it has one. Returns false if there is none now. */
  place(page: Page, space: AddressSpacePages): boolean {
    return this.resident.place(page, space, this.evict)
  }

  /** See `ResidentPages.layOut`. */
  layOut(space: AddressSpacePages, pages: readonly Page[]): 'done' | 'conflict' | 'noRoom' {
    const result = this.resident.layOut(space, pages, this.evict)
    for (const page of pages) this.changed(page)
    return result
  }

  /** See `ResidentPages.isFullFor`. */
  isFullFor(pageSize: number, count: number): boolean {
    return this.resident.isFullFor(pageSize, count)
  }

  reserve(page: Page): void {
    this.resident.reserve(page)
  }

  unreserve(page: Page): void {
    this.resident.unreserve(page)
  }

  /** Takes the page's frame, if it has one. */
  release(page: Page): void {
    if (page.frame === undefined) return
    this.resident.release(page)
    this.waiters.framesMayBeFree()
  }

  /** Call it when the page's state changes in a way that decides whether its frame can be taken. */
  changed(page: Page): void {
    if (this.resident.changed(page)) this.waiters.framesMayBeFree()
  }

  // ---- frames of private copies

  /**
   * Calls `run`, now or later, with `count` frames that follow one another. They belong to no page; `releaseFrame`
   * takes each back. Returns a function that withdraws the request.
   */
  wantFrames(
    pageSize: number,
    count: number,
    run: (frames: readonly Frame[]) => void,
    fail: (error: Error) => void
  ): () => void {
    return this.waiters.wantFrames(pageSize, count, run, fail)
  }

  releaseFrame(frame: Frame): void {
    this.resident.releaseAnonymous(frame)
    this.waiters.framesMayBeFree()
  }

  // ---- waiting

  /** Calls `run` when there may be more room than now. Returns a function that withdraws it. */
  whenRoom(run: () => void, fail: (error: Error) => void): () => void {
    return this.waiters.whenRoom(run, fail)
  }

  /** Starts to write dirty pages back, because a frame is needed and none can be dropped. */
  starve(): void {
    this.waiters.starve()
  }

  /** Makes the next search look again. */
  framesMayBeFree(): void {
    this.waiters.framesMayBeFree()
  }

  /** Serves those that wait for frames, as far as there are frames. */
  pump(): void {
    this.waiters.pump()
  }

  failWaiters(error: Error): void {
    this.waiters.fail(error)
  }

  /** Starts to write pages back before frames run out. */
  writeBackEarly(): void {
    this.waiters.writeBackEarly()
  }
}
