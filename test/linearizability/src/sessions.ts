/**
 * What a lost session takes with it. What it wrote to a page after the page's last durable version is undone, and what it read from its first
 * such write on may have been that: nobody else has seen it. Before, it read what everybody could.
 */
import type { HistoryEvent } from './history.js'

export type Fate = 'happened' | 'maybe' | 'undone'

const WRITES: ReadonlySet<HistoryEvent['op']> = new Set(['write', 'add', 'exchange', 'cas'])

/** Writebacks and losses of one page, by session. */
export class Fates {
  private readonly lost = new Set<string>()
  /** The moment at which bytes were taken that are durable, and of the newest that may be. */
  private readonly durable = new Map<string, number>()
  private readonly perhaps = new Map<string, number>()
  private readonly writes = new Map<string, HistoryEvent[]>()
  /** Of each session, when the first write began that may be lost. */
  private readonly firsts = new Map<string, number>()

  /** All events, before the first question. */
  add(event: HistoryEvent): void {
    const { op, process, status, call } = event
    if (op === 'lost') this.lost.add(process)
    if (WRITES.has(op) && status !== 'fail') this.writesOf(process).push(event)
    // A flush that succeeded says of everything before it that it is durable, whatever else is known of it.
    const isFlush = op === 'sync' && status === 'ok'
    if (!isFlush && (op !== 'writeback' || status === 'fail')) return
    const taken = status === 'ok' ? this.durable : this.perhaps
    taken.set(process, Math.max(call, taken.get(process) ?? -Infinity))
  }

  /** What became of an operation whose call returned well. */
  of({ op, process, call, return: end }: HistoryEvent): Fate {
    if (!this.lost.has(process)) return 'happened'
    const durable = this.durable.get(process) ?? -Infinity
    // Its moment was between call and return, so one that spans the taking may be in what was taken.
    if (end <= durable) return 'happened'
    if (op === 'read') return end < this.firstLost(process, durable) ? 'happened' : 'undone'
    const perhaps = Math.max(durable, this.perhaps.get(process) ?? -Infinity)
    return call > perhaps ? 'undone' : 'maybe'
  }

  private firstLost(process: string, durable: number): number {
    let first = this.firsts.get(process)
    if (first === undefined) {
      first = Math.min(...this.writesOf(process).map((write) => (write.return > durable ? write.call : Infinity)))
      this.firsts.set(process, first)
    }
    return first
  }

  private writesOf(process: string): HistoryEvent[] {
    let writes = this.writes.get(process)
    if (writes === undefined) this.writes.set(process, (writes = []))
    return writes
  }
}
