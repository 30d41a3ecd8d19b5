import { MAX_ADDRESSES } from '@quire/protocol'
import { isAddressOf } from './multiaddr.js'

/**
 * Where peers may be reached, in the order in which to dial. The first is the address that answered last; until one has,
 * it is the first that was learned, usually from a configuration. What peers say of addresses comes behind it, newest
 * first: many of a machine's addresses lead nowhere from another machine. Noise proves that the right peer answers at
 * one. At most {@link MAX_ADDRESSES} of a peer are kept, and none that this version cannot dial.
 */
export class AddressBook {
  private readonly known = new Map<string, readonly string[]>()

  /** Puts what is new of `addresses` behind the first that is known. */
  learn(peerId: string, addresses: readonly string[]): void {
    const [first, ...others] = this.of(peerId)
    const usable = addresses.filter((address) => isAddressOf(peerId, address))
    const news = usable.filter((address) => address !== first && !others.includes(address))
    const all = first === undefined ? news : [first, ...news, ...others]
    this.known.set(peerId, [...new Set(all)].slice(0, MAX_ADDRESSES))
  }

  of(peerId: string): readonly string[] {
    return this.known.get(peerId) ?? []
  }

  /** The peer answered at `address`. Those before it were dialed earlier and did not answer, so they come last. */
  answered(peerId: string, address: string): void {
    const known = this.of(peerId)
    const at = known.indexOf(address)
    if (at > 0) this.known.set(peerId, [...known.slice(at), ...known.slice(0, at)])
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
