/** The end of a proposal at its node. */
export type Fate =
  | 'applied'
  /** An entry of another term took its place. */
  | 'lost'
  /** A snapshot covers it, and may contain it. */
  | 'unknown'

interface PendingProposal {
  readonly term: number
  readonly settle: (fate: Fate) => void
}

/**
 * Holds the proposals that wait at the node that took them.
 *
 * Each is decided when its entry, or another entry at its index, is applied.
 */
export class PendingProposals {
  private readonly waiting = new Map<number, PendingProposal[]>()

  get size(): number {
    return this.waiting.size
  }

  /** All are decided once this entry is applied. */
  get lastIndex(): number {
    return Math.max(0, ...this.waiting.keys())
  }

  add(index: number, term: number, settle: (fate: Fate) => void): void {
    const waiting = { term, settle }
    const others = this.waiting.get(index)
    if (others === undefined) this.waiting.set(index, [waiting])
    else others.push(waiting)
  }

  applied(index: number, term: number): void {
    const waiting = this.waiting.get(index)
    if (waiting === undefined) return
    this.waiting.delete(index)
    for (const each of waiting) each.settle(each.term === term ? 'applied' : 'lost')
  }

  overtaken(upTo: number): void {
    for (const [index, waiting] of this.waiting) {
      if (index > upTo) continue
      this.waiting.delete(index)
      for (const { settle } of waiting) settle('unknown')
    }
  }
}
