import { MAX_REASON_BYTES, clipText, type Clock } from '@quire/protocol'

export interface Quarantined {
  readonly peerId: string
  /** True if the member refuses this peer, false if this peer refuses the member. */
  readonly refusesThisPeer: boolean
  /** At most {@link MAX_REASON_BYTES}. The other peer may have written it. */
  readonly reason: string
}

/**
 * A refused peer tries again within a few seconds. A refusal that is not repeated was about a process that is gone,
 * whose hello arrived after that of the next process.
 */
const SHOWN_MS = 15_000

interface Flag {
  readonly member: Quarantined
  readonly atMs: number
}

/**
 * Remembers the members that this peer refuses or that refuse it, for `quire status`.
 *
 * The caller flags members only, which bounds its size.
 */
export class Quarantine {
  private readonly refused = new Map<string, Flag>()
  private readonly refusing = new Map<string, Flag>()

  constructor(private readonly clock: Pick<Clock, 'now'>) {}

  get shown(): Quarantined[] {
    const since = this.clock.now() - SHOWN_MS
    const flags = [...this.refusing, ...this.refused].filter(([, { atMs }]) => atMs >= since)
    // One flag for each peer. This peer's own reason replaces that of the remote.
    return [...new Map(flags).values()].map(({ member }) => member)
  }

  flag({ peerId, refusesThisPeer, reason }: Quarantined): void {
    const member = { peerId, refusesThisPeer, reason: clipText(reason, MAX_REASON_BYTES) }
    this.flags(refusesThisPeer).set(peerId, { member, atMs: this.clock.now() })
  }

  /** Ends one direction: the member's refusal of this peer, or this peer's refusal of the member. */
  clear(peerId: string, refusesThisPeer: boolean): void {
    this.flags(refusesThisPeer).delete(peerId)
  }

  private flags(refusesThisPeer: boolean): Map<string, Flag> {
    return refusesThisPeer ? this.refusing : this.refused
  }
}
