/**
 * When the incarnation of a new folder takes part in votes (docs/identity.md, Admission). Pure.
 *
 * An empty folder looks the same whether its peer starts for the first time or has lost everything. A peer that lost its vote
 * and its log must not vote again as if nothing had happened (Raft, Figure 2, "Persistent state").
 */
import type { RaftIntroduction } from '@quire/protocol'

/** Index of the entry that founds a cluster. A log that ends there has promised nothing to anybody. */
const FOUNDING_ENTRY = 1

export class Admission {
  private readonly waiting: Set<string>
  private leaderAgreed = false

  /** `founders`: the voters that the cluster was founded with. `admitted`: this incarnation was admitted in an earlier life. */
  constructor(
    self: string,
    founders: readonly string[],
    private readonly admitted: boolean
  ) {
    this.waiting = new Set(founders.filter((peerId) => peerId !== self))
  }

  get isAdmitted(): boolean {
    return this.admitted || this.leaderAgreed || this.waiting.size === 0
  }

  /** Founders that have not agreed yet. Empty once admitted. */
  get missing(): string[] {
    return this.isAdmitted ? [] : [...this.waiting]
  }

  /** A peer has accepted this peer's hello, and answered with its own introduction. */
  acceptedBy({ from, lastIndex }: RaftIntroduction): void {
    if (lastIndex <= FOUNDING_ENTRY) this.waiting.delete(from)
  }

  /** A leader with a majority that does not need this peer lets it take part. */
  admittedByLeader(): void {
    this.leaderAgreed = true
  }
}
