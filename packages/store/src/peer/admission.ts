import type { RaftIntroduction } from '@quire/protocol'

/** Index of the entry that founds a cluster. A peer whose log ends there has acknowledged nothing to another peer. */
const FOUNDING_ENTRY = 1

/**
 * Decides when the incarnation of a new folder may vote (docs/identity.md, Admission). It is pure.
 *
 * An empty folder looks the same whether its peer starts for the first time or has lost everything. A peer that has
 * lost its vote and its log must not vote again as if nothing had happened (Raft, Figure 2, "Persistent state").
 */
export class Admission {
  private readonly waiting: Set<string>
  private leaderAgreed = false

  /**
   * `founders`: the founding voters of the cluster. `admitted`: an earlier process of this incarnation was admitted.
   */
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

  /** The founders that have not agreed yet. Empty once this incarnation is admitted. */
  get missing(): string[] {
    return this.isAdmitted ? [] : [...this.waiting]
  }

  /** A peer has accepted this peer's hello and has answered with its own introduction. */
  acceptedBy({ from, lastIndex }: RaftIntroduction): void {
    if (lastIndex <= FOUNDING_ENTRY) this.waiting.delete(from)
  }

  /** A leader with a majority that does not need this peer has admitted it. */
  admittedByLeader(): void {
    this.leaderAgreed = true
  }
}
