import { joinLeaderRuns, type LeaderMessage } from '@quire/protocol'
import type { BulkOrder } from './bulk-order.js'
import type { Connection } from './connection.js'

interface Waiting {
  readonly control: LeaderMessage[]
  readonly bulk: LeaderMessage[]
}

/**
 * Collects what the directory sends in one step.
 *
 * Messages about neighboring pages leave as runs. Those for one client keep their order on each lane.
 */
export class Outbox {
  private readonly waiting = new Map<Connection, Waiting>()

  constructor(private readonly bulk: BulkOrder) {}

  add(to: Connection, lane: 'control' | 'bulk', message: LeaderMessage): void {
    let waiting = this.waiting.get(to)
    if (waiting === undefined) this.waiting.set(to, (waiting = { control: [], bulk: [] }))
    waiting[lane].push(message)
  }

  /** Sends everything. */
  flush(): void {
    if (this.waiting.size === 0) return
    const all = [...this.waiting]
    this.waiting.clear()
    for (const [to, { control, bulk }] of all) {
      for (const message of joinLeaderRuns(control, Infinity)) to.send('control', message)
      for (const message of joinLeaderRuns(bulk, to.bulkRunBytes)) this.bulk.send(to, message)
    }
  }
}
