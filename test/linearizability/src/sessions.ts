/**
 * What a lost session takes with it. Its operations on a page after the page's last durable version are undone, its own reads of them included:
 * nobody else has seen them.
 */
import type { HistoryEvent } from './history.js'

export type Fate = 'happened' | 'maybe' | 'undone'

/** Writebacks and losses of one page, by session. */
export class Fates {
  private readonly lost = new Set<string>()
  /** The moment at which bytes were taken that are durable, and of the newest that may be. */
  private readonly durable = new Map<string, number>()
  private readonly perhaps = new Map<string, number>()

  add({ op, process, status, call }: HistoryEvent): void {
    if (op === 'lost') this.lost.add(process)
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
    const perhaps = Math.max(durable, this.perhaps.get(process) ?? -Infinity)
    if (call > perhaps) return 'undone'
    // A read that may be undone says nothing for certain.
    return op === 'read' ? 'undone' : 'maybe'
  }
}
