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
 * A peer that is refused comes again within a few seconds. A refusal that is not repeated was about a process that is gone: its hello
 * was still on its way when the next process had introduced itself.
 */
const SHOWN_MS = 15_000

/** Bounded by its caller, who flags members only. */
export class Quarantine {
  private readonly flags = new Map<string, { readonly member: Quarantined; readonly atMs: number }>()

  constructor(private readonly clock: Pick<Clock, 'now'>) {}

  get shown(): Quarantined[] {
    const since = this.clock.now() - SHOWN_MS
    return [...this.flags.values()].filter(({ atMs }) => atMs >= since).map(({ member }) => member)
  }

  flag({ peerId, refusesThisPeer, reason }: Quarantined): void {
    const member = { peerId, refusesThisPeer, reason: clipText(reason, MAX_REASON_BYTES) }
    this.flags.set(peerId, { member, atMs: this.clock.now() })
  }

  clear(peerId: string): void {
    this.flags.delete(peerId)
  }
}
