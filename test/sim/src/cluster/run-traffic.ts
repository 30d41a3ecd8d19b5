import type { ClientMessageOf, LeaderMessageOf } from '@quire/protocol'
import type { Coverage } from '../coverage.js'

type Run = Pick<ClientMessageOf<'fault'>, 'req' | 'count'>

/** Runs of one client that are remembered. Few are unanswered for long. */
const MAX_REMEMBERED = 32

/** Counts runs of pages, and those that were answered in parts. */
export class RunTraffic {
  /** Runs of faults without an answer, by client. */
  private readonly asked = new Map<string, readonly Run[]>()

  constructor(private readonly coverage: Coverage) {}

  fault(client: string, { req, count }: Run): void {
    if (count === 1) return
    this.coverage.add('runs of faults')
    this.asked.set(client, [...(this.asked.get(client) ?? []), { req, count }].slice(-MAX_REMEMBERED))
  }

  grant(client: string, { req, pages }: LeaderMessageOf<'grant'>): void {
    if (pages.length > 1) this.coverage.add('runs of grants')
    const asked = this.asked.get(client) ?? []
    const run = asked.find((each) => req >= each.req && req < each.req + each.count)
    if (run === undefined) return
    if (pages.length < run.count) this.coverage.add('runs of faults answered in parts')
    this.asked.set(
      client,
      asked.filter((each) => each !== run)
    )
  }

  order({ count }: LeaderMessageOf<'invalidate' | 'revoke' | 'downgrade'>): void {
    if (count > 1) this.coverage.add('runs of orders')
  }
}
