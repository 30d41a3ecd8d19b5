/**
 * A refused client asks the other peers once: the one that refused may not have applied the entry yet that lists this
 * client, or may have an old configuration. So a refusal by the first peer is final when all others have had their
 * chance, or when the time for it is over.
 */
import type { Clock } from '@quire/protocol'

/** For asking all other peers, however many of them do not answer. */
export const SECOND_OPINIONS_MS = 1_000

export class SecondOpinions {
  /** Then the refusal is final. */
  readonly untilMs: number
  private readonly asked = new Set<string>()

  constructor(
    private readonly clock: Pick<Clock, 'now'>,
    /** Of the first peer. */
    readonly refusal: Error,
    /** When the last of the other peers was asked. */
    othersAskedAtMs: number
  ) {
    this.untilMs = othersAskedAtMs + SECOND_OPINIONS_MS
  }

  /** Of the time for all peers together. */
  get leftMs(): number {
    return Math.max(0, this.untilMs - this.clock.now())
  }

  /** Those that are not asked any more. */
  get hadTheirSay(): ReadonlySet<string> {
    return this.asked
  }

  /** It refused as well, did not answer, or knows no leader. */
  heard(peerId: string): void {
    this.asked.add(peerId)
  }
}
