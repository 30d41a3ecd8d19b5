/** Members that this peer refuses, or that refuse it, as `quire status` shows them. */
import { MAX_REASON_BYTES, clipText, type Clock } from '@quire/protocol'

export interface Quarantined {
  readonly peerId: string
  /** The member refuses this peer; else this peer refuses the member. */
  readonly refusesThisPeer: boolean
  /** At most {@link MAX_REASON_BYTES}; it may be the other peer's words. */
  readonly reason: string
}

/**
 * A peer that is refused comes again within a few seconds. A refusal that is not repeated was about a process that is
 * gone: its hello was still on its way when the next process had introduced itself.
 */
const SHOWN_MS = 15_000

interface Flag {
  readonly member: Quarantined
  readonly atMs: number
}

/** Bounded by its caller, who flags members only. */
export class Quarantine {
  private readonly refused = new Map<string, Flag>()
  private readonly refusing = new Map<string, Flag>()

  constructor(private readonly clock: Pick<Clock, 'now'>) {}

  get shown(): Quarantined[] {
    const since = this.clock.now() - SHOWN_MS
    const flags = [...this.refusing, ...this.refused].filter(([, { atMs }]) => atMs >= since)
    // One for each peer: this peer's own reason before that of the remote.
    return [...new Map(flags).values()].map(({ member }) => member)
  }

  flag({ peerId, refusesThisPeer, reason }: Quarantined): void {
    const member = { peerId, refusesThisPeer, reason: clipText(reason, MAX_REASON_BYTES) }
    this.flags(refusesThisPeer).set(peerId, { member, atMs: this.clock.now() })
  }

  /** That the member refuses this peer is over; else that this peer refuses the member. */
  clear(peerId: string, refusesThisPeer: boolean): void {
    this.flags(refusesThisPeer).delete(peerId)
  }

  private flags(refusesThisPeer: boolean): Map<string, Flag> {
    return refusesThisPeer ? this.refusing : this.refused
  }
}
