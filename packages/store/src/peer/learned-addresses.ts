import { MAX_ADDRESSES, MAX_ADDRESS_BYTES, MAX_MEMBERS, fitAddresses, type Member } from '@quire/protocol'

/** The limit for the addresses of one member: 16 of usual length fit, or one of the greatest. */
export const MAX_LEARNED_BYTES = 4 * MAX_ADDRESS_BYTES

/**
 * Remembers the last known addresses of members.
 *
 * It is pure; the identity keeps it on disk beside the evidence.
 */
export class LearnedAddresses {
  /** The number of changes so far. */
  changes = 0
  private readonly known = new Map<string, readonly string[]>()

  constructor(remembered: readonly Member[] = []) {
    for (const { peerId, addresses } of remembered) this.known.set(peerId, addresses)
  }

  /** The addresses of a member, newest first. */
  of(peerId: string): readonly string[] {
    return this.known.get(peerId) ?? []
  }

  /** The member listens at `addresses` now. Older addresses stay after these, as far as they fit. */
  learn(peerId: string, addresses: readonly string[]): void {
    const before = this.of(peerId)
    const all = fitAddresses([...new Set([...addresses, ...before])], MAX_LEARNED_BYTES).slice(0, MAX_ADDRESSES)
    if (all.length === before.length && all.every((address, i) => address === before[i])) return
    // Moved to the end, so that the member that changed least recently is forgotten first.
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
