/**
 * A leader that has heard from no majority for a while is none any more (thesis §6.2): it could commit nothing, and its clients would not
 * look for another.
 */
import type { RaftStatus } from '@quire/raft'
import type { Scheduler } from '../scheduler.js'
import { Violation } from '../violation.js'
import type { RaftSettings } from './settings.js'

/** Counted in periods of the check: in the first everybody is new, at the end of the second it must notice. */
const PERIODS = 2.5
/** A process that has run so few ticks less than it should was stalled. */
const STALLED_TICKS = 3

interface Term {
  readonly term: number
  /** In office, running without a pause, and with these voters, since. */
  since: number
  voters: readonly string[]
  lastRun: number
}

export class Office {
  private readonly terms = new Map<string, Term>()
  /** By node: when it last heard from whom. */
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
    heard.set(from, this.scheduler.now)
  }

  check({ id, term, voters, outgoing }: RaftStatus): void {
    const { now } = this.scheduler
    let office = this.terms.get(id)
    if (office?.term !== term) this.terms.set(id, (office = { term, voters, since: now, lastRun: now }))
    if (now - office.lastRun > STALLED_TICKS * this.tickMs || voters !== office.voters) office.since = now
    office.lastRun = now
    office.voters = voters
    if (now - office.since <= this.limitMs) return
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
