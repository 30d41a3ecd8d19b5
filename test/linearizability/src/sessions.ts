/**
 * The operations that a lost session undoes.
 *
 * The session's writes to a page after the page's last durable version are lost. From the first such write on, its
 * reads may have returned bytes that no other session ever sees. Its earlier reads returned bytes that every session
 * could see.
 */
import type { HistoryEvent } from './history.js'

export type Fate = 'happened' | 'maybe' | 'undone'

const WRITES: ReadonlySet<HistoryEvent['op']> = new Set(['write', 'add', 'exchange', 'cas'])

/** Tells what became of the operations of lost sessions on one page. */
export class Fates {
  private readonly lost = new Set<string>()
  /** When the durable bytes were taken, and when the newest bytes that may be durable were taken. */
  private readonly durable = new Map<string, number>()
  private readonly perhaps = new Map<string, number>()
  private readonly writes = new Map<string, HistoryEvent[]>()
  /** When the first write of each session began that may be lost. */
  private readonly firsts = new Map<string, number>()

  /** Takes all events, before the first question. */
  add(event: HistoryEvent): void {
    const { op, process, status, call } = event
    if (op === 'lost') this.lost.add(process)
    if (WRITES.has(op) && status !== 'fail') this.writesOf(process).push(event)
    // A flush that succeeded proves that everything before it is durable.
    const isFlush = op === 'sync' && status === 'ok'
    if (!isFlush && (op !== 'writeback' || status === 'fail')) return
    const taken = status === 'ok' ? this.durable : this.perhaps
    taken.set(process, Math.max(call, taken.get(process) ?? -Infinity))
  }

  /** Returns what became of an operation that succeeded. */
  of({ op, process, call, return: end }: HistoryEvent): Fate {
    if (!this.lost.has(process)) return 'happened'
    const durable = this.durable.get(process) ?? -Infinity
    // It happened between call and return, so an operation that spans the taking may be included.
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
