import { Heap } from './heap.js'
import { RunHash } from './run-hash.js'

interface SimEvent {
  readonly at: number
  readonly order: number
  /** Describes it in the trace. */
  readonly label: string
  run: (() => void) | undefined
}

/** Shorter than anything takes, and longer than the rounding of a time to nanoseconds. */
const INSTANT_MS = 4e-6

/**
 * Runs events one after the other in virtual time.
 *
 * Between two events, every promise continuation that is ready runs, so whatever drivers do with promises belongs to
 * the event that caused it. Nothing here waits for real time.
 */
export class Scheduler {
  private time = 0
  private lastInstant = 0
  private order = 0
  private readonly queue = new Heap<SimEvent>((a, b) => a.at - b.at || a.order - b.order)
  /** The hash of everything observable so far. */
  readonly hash: RunHash
  /** The number of events that have run. */
  events = 0
  /** Called after each event, once all promises have settled. An error that it throws ends the run. */
  afterEvent: (event: SimEvent) => void = () => {}
  /** Called with each event before it runs. */
  onTrace: ((event: SimEvent) => void) | undefined

  constructor(isHashed: boolean) {
    this.hash = new RunHash(isHashed)
  }

  /** True time in milliseconds, which no node knows. */
  get now(): number {
    return this.time
  }

  /** True time that is later at each call, even within one event. */
  instant(): number {
    this.lastInstant = Math.max(this.time, this.lastInstant + INSTANT_MS)
    return this.lastInstant
  }

  /** Runs `callback` after `delayMs`. The returned function cancels it. */
  after(delayMs: number, label: string, callback: () => void): () => void {
    return this.at(this.time + Math.max(0, delayMs), label, callback)
  }

  at(time: number, label: string, callback: () => void): () => void {
    const event: SimEvent = { at: Math.max(time, this.time), order: this.order++, label, run: callback }
    this.queue.push(event)
    return () => {
      event.run = undefined
    }
  }

  /** Runs events until `done()`, or until the true time `untilMs`. Resolves to whether `done()` was reached. */
  async run(untilMs: number, done: () => boolean = () => false): Promise<boolean> {
    await turn()
    while (!done()) {
      const event = this.queue.peek()
      if (event === undefined || event.at > untilMs) {
        this.time = Math.max(this.time, untilMs)
        return done()
      }
      this.queue.pop()
      const { run } = event
      if (run === undefined) continue
      event.run = undefined
      this.time = event.at
      this.events++
      this.onTrace?.(event)
      run()
      await turn()
      this.afterEvent(event)
    }
    return true
  }
}

/** Waits for one turn of the event loop, in which all microtasks and ticks run. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
