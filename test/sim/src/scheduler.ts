/**
 * Virtual time: a queue of events, run one after the other. Between two events every promise continuation that is ready has run, so
 * what drivers do with promises belongs to the event that set it off. Nothing here waits for real time.
 */
import { Heap } from './heap.js'
import { RunHash } from './run-hash.js'

export interface SimEvent {
  readonly at: number
  readonly order: number
  /** What it is, for the trace. */
  readonly label: string
  run: (() => void) | undefined
}

/** Less than anything takes, and more than what is lost when a time is rounded to a nanosecond. */
const INSTANT_MS = 4e-6

export class Scheduler {
  private time = 0
  private lastInstant = 0
  private order = 0
  private readonly queue = new Heap<SimEvent>((a, b) => a.at - b.at || a.order - b.order)
  /** Of everything observable so far. */
  readonly hash = new RunHash()
  /** Events run so far. */
  events = 0
  /** Called after each event, when all has settled. What it throws ends the run. */
  afterEvent: (event: SimEvent) => void = () => {}
  /** Sees each event before it runs. */
  onTrace: ((event: SimEvent) => void) | undefined

  /** True time in milliseconds: what no node knows. */
  get now(): number {
    return this.time
  }

  /** True time, in which what is asked later is later, also within one event. */
  instant(): number {
    this.lastInstant = Math.max(this.time, this.lastInstant + INSTANT_MS)
    return this.lastInstant
  }

  /** Runs `callback` after `delayMs`. The returned function takes it back. */
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

  /** Runs events until `done`, or until `untilMs` of true time. True when `done` said so. */
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

/** One turn of the event loop: all microtasks and ticks run before it comes round. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
