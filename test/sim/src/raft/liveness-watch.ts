import type { Scheduler } from '../scheduler.js'
import { Violation } from '../violation.js'
import type { SimNode } from './node.js'

/** Called when the watched promise settles. */
interface SettleHandlers<T> {
  readonly done?: (value: T) => void
  readonly failed?: (error: Error) => void
}

interface Wait {
  readonly node: SimNode
  readonly life: number
  readonly what: string
  readonly since: number
  /** The node's tick by which the wait must have ended. */
  readonly endsAtTick: number
}

/** Checks that every promise for which a caller waits settles (scenario 35). */
export class LivenessWatch {
  private readonly waiting = new Set<Wait>()

  constructor(
    private readonly scheduler: Scheduler,
    private readonly onError: (error: Error) => void
  ) {}

  /** Watches a promise of a node, for at most `maxTicks` of its ticks. An error that a handler throws ends the run. */
  add<T>(
    node: SimNode,
    what: string,
    promise: Promise<T>,
    handlers: SettleHandlers<T> = {},
    maxTicks = Infinity
  ): void {
    const wait = { node, life: node.life, what, since: this.scheduler.now, endsAtTick: node.ticks + maxTicks }
    this.waiting.add(wait)
    this.settle(wait, promise, handlers).catch((error: unknown) => this.onError(error as Error))
  }

  private async settle<T>(wait: Wait, promise: Promise<T>, { done, failed }: SettleHandlers<T>): Promise<void> {
    let value: T
    try {
      value = await promise
    } catch (error) {
      this.waiting.delete(wait)
      failed?.(error as Error)
      return
    }
    this.waiting.delete(wait)
    done?.(value)
  }

  /** Returns the waits of current lives that began before `before`. */
  pending(before: number): string[] {
    const left: string[] = []
    for (const { node, life, what, since } of this.waiting) {
      if (since < before && node.life === life && node.isUp)
        left.push(`${node.name}: ${what} since ${since.toFixed(1)}`)
    }
    return left
  }

  /** The node's next tick has come: waits that had to end with the last one have ended. */
  ticked(node: SimNode): void {
    for (const wait of this.waiting) {
      if (wait.node !== node || wait.life !== node.life || node.ticks < wait.endsAtTick) continue
      const facts = `${node.name}: ${wait.what} since ${wait.since.toFixed(1)} was to end with tick ${wait.endsAtTick}`
      this.onError(new Violation('a call ends in time', facts))
    }
  }

  expectNone(before: number): void {
    const left = this.pending(before)
    if (left.length > 0) throw new Violation('no call waits forever', left.join('; '))
  }
}
