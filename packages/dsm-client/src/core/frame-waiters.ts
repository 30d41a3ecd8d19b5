/** Requests for frames that cannot be met yet. */
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

interface FrameWaiter {
  /** Bytes that it wants together. */
  readonly bytes: number
  /** Returns true when it has what it wants. */
  attempt(): boolean
  /** Returns true if dropping pages cannot help it. */
  isHopeless(): boolean
  fail(error: Error): void
}

/** Queues requests for frames until frames come free. */
export class FrameWaiters {
  private queue: FrameWaiter[] = []
  private starved = false

  constructor(private readonly init: FrameWaitersInit) {}

  /** A search for a frame has failed, and nothing has happened since that could change its result. */
  get isStarved(): boolean {
    return this.starved
  }

  framesMayBeFree(): void {
    this.starved = false
  }

  /** Called when no frame is free before a writeback: writes some dirty pages back. */
  starve(): void {
    this.init.writeBack(this.init.resident.takeDirty(RECLAIM_BATCH))
    this.starved = true
  }

  /** Writes dirty pages back before frames run out, so that no access waits (kernel: dirty_background_ratio). */
  writeBackEarly(): void {
    const { resident, writeBack } = this.init
    if (resident.isMostlyDirty) writeBack(resident.takeDirty(RECLAIM_BATCH))
  }

  /** See `PageFrames.wantFrames`. */
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

  /** Calls `run` when there may be more room than now. Returns a function that withdraws it. */
  whenRoom(run: () => void, fail: (error: Error) => void): () => void {
    const attempt = (): boolean => {
      run()
      return true
    }
    this.starve()
    // `run` finds out itself whether waiting helps.
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
