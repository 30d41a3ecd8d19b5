import type { RaftStatus } from '@quire/raft'
import type { Scheduler } from '../scheduler.js'
import { Violation } from '../violation.js'
import type { RaftSettings } from './settings.js'

/**
 * In periods of the quorum check. In the first, every follower counts as heard; at the end of the second, the leader
 * must notice.
 */
const PERIODS = 2.5
interface Term {
  readonly term: number
  /** The running time since it leads with these voters. */
  since: number
  voters: readonly string[]
}

/** How long a process has run. A stall counts as one tick, because timers fire once when the process wakes. */
interface RunningTime {
  ms: number
  /** The true time at which `ms` was measured. */
  at: number
}

/**
 * Checks that a leader steps down once it has heard from no majority for a while (thesis §6.2).
 *
 * It could commit nothing, and its clients would not look for another leader.
 */
export class LeaderTenure {
  private readonly terms = new Map<string, Term>()
  private readonly running = new Map<string, RunningTime>()
  /** When each node last heard from each other one, in its running time. */
  private readonly heard = new Map<string, Map<string, number>>()
  private readonly tickMs: number
  private readonly limitMs: number

  constructor(
    private readonly scheduler: Scheduler,
    { tickMs, slowestTicks, electionTicks, skew }: RaftSettings
  ) {
    this.tickMs = (tickMs * slowestTicks + 1) / (1 - skew)
    this.limitMs = PERIODS * electionTicks * this.tickMs
  }

  delivered(to: string, from: string): void {
    let heard = this.heard.get(to)
    if (heard === undefined) this.heard.set(to, (heard = new Map<string, number>()))
    heard.set(from, this.runningMs(to))
  }

  private runningMs(id: string): number {
    const { now } = this.scheduler
    let running = this.running.get(id)
    if (running === undefined) this.running.set(id, (running = { ms: 0, at: now }))
    running.ms += Math.min(now - running.at, this.tickMs)
    running.at = now
    return running.ms
  }

  check({ id, term, voters, outgoing }: RaftStatus): void {
    const now = this.runningMs(id)
    let tenure = this.terms.get(id)
    if (tenure?.term !== term) this.terms.set(id, (tenure = { term, voters, since: now }))
    if (voters !== tenure.voters) tenure.since = now
    tenure.voters = voters
    if (now - tenure.since <= this.limitMs) return
    const heard = this.heard.get(id)
    const isThere = (member: string): boolean => member === id || now - (heard?.get(member) ?? 0) <= this.limitMs
    for (const members of [voters, outgoing]) {
      if (members.length > 0 && members.filter(isThere).length * 2 <= members.length) {
        const facts = `${id} leads term ${term}, and has heard for ${this.limitMs.toFixed(0)} ms only of ${members.filter(isThere).join(' ')}`
        throw new Violation('a leader without a majority steps down', facts)
      }
    }
  }
}
