/** Room for pages and for frames of no page: who waits for it, and whether looking for it makes sense. */
import { CacheFullError } from '@quire/protocol'
import type { Frame } from './frames.js'
import type { Page } from './page.js'
import type { ResidentPages } from './resident-pages.js'

/** Dirty pages that are written back together when frames run out. */
const RECLAIM_BATCH = 64

export interface FrameWaitersInit {
  readonly resident: ResidentPages
  readonly evict: (victim: Page) => void
  readonly writeBack: (pages: readonly Page[]) => void
}

/** Somebody who waits for room that is no page's. */
interface FrameWaiter {
  /** What it wants together. */
  readonly bytes: number
  /** True when it has what it wants. */
  attempt(): boolean
  /** Nothing that could be dropped is in its way. */
  isHopeless(): boolean
  fail(error: Error): void
}

export class FrameWaiters {
  private queue: FrameWaiter[] = []
  /** No frame could be found, and nothing has happened since that could have changed this. */
  private starved = false

  constructor(private readonly init: FrameWaitersInit) {}

  get isStarved(): boolean {
    return this.starved
  }

  /** What could not be found may be there now. */
  changed(): void {
    this.starved = false
  }

  /** No frame is to be had before dirty pages are written back. */
  starve(): void {
    this.init.writeBack(this.init.resident.takeDirty(RECLAIM_BATCH))
    this.starved = true
  }

  /** Begun before frames run out, so that nobody has to wait for it (kernel: dirty_background_ratio). */
  writeBackEarly(): void {
    const { resident, writeBack } = this.init
    if (resident.isMostlyDirty) writeBack(resident.takeDirty(RECLAIM_BATCH))
  }

  /** See `PageTable.wantFrames`. */
  wantFrames(
    pageSize: number,
    count: number,
    run: (frames: readonly Frame[]) => void,
    fail: (error: Error) => void
  ): () => void {
    const attempt = (): boolean => {
      const frames = this.init.resident.takeAnonymous(pageSize, count, this.init.evict)
      if (frames !== undefined) run(frames)
      return frames !== undefined
    }
    const isHopeless = (): boolean => this.init.resident.isFullFor(pageSize, count)
    return this.enter({ bytes: count * pageSize, attempt, isHopeless, fail })
  }

  /** There is no room now. Calls `run` when there may be more. Returns a function that withdraws. */
  whenRoom(run: () => void, fail: (error: Error) => void): () => void {
    const attempt = (): boolean => {
      run()
      return true
    }
    this.starve()
    // Whether it waits in vain is for `run` to find out.
    return this.enter({ bytes: 0, attempt, isHopeless: () => false, fail })
  }

  pump(): void {
    const { resident } = this.init
    while (!this.starved) {
      const waiter = this.queue.shift()
      if (waiter === undefined) return
      if (waiter.attempt()) continue
      if (waiter.isHopeless()) {
        waiter.fail(new CacheFullError(resident.capacityBytes, waiter.bytes))
        continue
      }
      this.queue.unshift(waiter)
      this.starve()
    }
  }

  fail(error: Error): void {
    for (const waiter of this.queue.splice(0)) waiter.fail(error)
  }

  private enter(waiter: FrameWaiter): () => void {
    this.queue.push(waiter)
    this.pump()
    return () => {
      this.queue = this.queue.filter((other) => other !== waiter)
    }
  }
}
