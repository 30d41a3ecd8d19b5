/** Where members of the cluster were last heard of. Pure: the identity keeps it on disk, beside the evidence. */
import { MAX_ADDRESSES, MAX_ADDRESS_BYTES, MAX_MEMBERS, fitAddresses, type Member } from '@quire/protocol'

/** Addresses of one member. Room for 16 of usual length, and for one of the greatest. */
export const MAX_LEARNED_BYTES = 4 * MAX_ADDRESS_BYTES

export class LearnedAddresses {
  /** Raised with each change. */
  changes = 0
  private readonly known = new Map<string, readonly string[]>()

  constructor(remembered: readonly Member[] = []) {
    for (const { peerId, addresses } of remembered) this.known.set(peerId, addresses)
  }

  /** Newest first. */
  of(peerId: string): readonly string[] {
    return this.known.get(peerId) ?? []
  }

  /** The member listens at `addresses` now. Older ones stay behind them, as far as there is room. */
  learn(peerId: string, addresses: readonly string[]): void {
    const before = this.of(peerId)
    const all = fitAddresses([...new Set([...addresses, ...before])], MAX_LEARNED_BYTES).slice(0, MAX_ADDRESSES)
    if (all.length === before.length && all.every((address, i) => address === before[i])) return
    // At the end: the member that has changed least recently is forgotten first.
    this.known.delete(peerId)
    this.known.set(peerId, all)
    const [oldest] = this.known.keys()
    if (this.known.size > MAX_MEMBERS && oldest !== undefined) this.known.delete(oldest)
    this.changes++
  }

  get members(): Member[] {
    return [...this.known].map(([peerId, addresses]) => ({ peerId, addresses: [...addresses] }))
  }
}
