/** Refusals of a client that another peer may accept. */
import type { Clock } from '@quire/protocol'

/** The time to ask all other peers, however many do not answer. */
const SECOND_OPINIONS_MS = 1_000

/**
 * Decides when a refusal is final.
 *
 * The peer that refused may not have applied the entry yet that lists this client, or may have an old configuration. So
 * the client asks each other peer once. The refusal is final when all have answered, or when the time for it is over.
 */
export class SecondOpinions {
  /** When the refusal is final, in milliseconds. */
  readonly untilMs: number
  private readonly peers = new Set<string>()

  constructor(
    private readonly clock: Pick<Clock, 'now'>,
    /** The refusal of the first peer. */
    readonly refusal: Error,
    /** When the client asked the last of the other peers. */
    othersAskedAtMs: number
  ) {
    this.untilMs = othersAskedAtMs + SECOND_OPINIONS_MS
  }

  /** The rest of the time for all peers together. */
  get leftMs(): number {
    return Math.max(0, this.untilMs - this.clock.now())
  }

  /** Peers that have answered, or failed to. */
  get asked(): ReadonlySet<string> {
    return this.peers
  }

  /** The peer has refused as well, has not answered, or knows no leader. */
  heard(peerId: string): void {
    this.peers.add(peerId)
  }
}
