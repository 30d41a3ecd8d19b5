import { MAX_ADDRESSES } from '@quire/protocol'

/**
 * Where peers may be reached. Addresses are learned from configurations and from peers that answer, newest first, and are kept: Noise
 * proves that the right peer answers at one. At most {@link MAX_ADDRESSES} of a peer are kept.
 */
export class AddressBook {
  private readonly known = new Map<string, string[]>()

  /** Puts `addresses` before those that are known already. */
  learn(peerId: string, addresses: readonly string[]): void {
    const known = this.known.get(peerId) ?? []
    // A peer that repeats what is known leaves the order alone: the first address may be the one that answers.
    const news = addresses.filter((address) => !known.includes(address))
    this.known.set(peerId, [...new Set([...news, ...known])].slice(0, MAX_ADDRESSES))
  }

  of(peerId: string): readonly string[] {
    return this.known.get(peerId) ?? []
  }

  /** No address answered: another one is tried first the next time. */
  failed(peerId: string): void {
    const [first, ...others] = this.of(peerId)
    if (first !== undefined) this.known.set(peerId, [...others, first])
  }

  /** The addresses of each peer. */
  get all(): ReadonlyMap<string, readonly string[]> {
    return this.known
  }

  /** The peers, in the order in which they were learned. */
  get peerIds(): string[] {
    return [...this.known.keys()]
  }
}
