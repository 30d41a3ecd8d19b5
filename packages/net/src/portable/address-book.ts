import { MAX_ADDRESSES } from '@quire/protocol'
import { isAddressOf } from './multiaddr.js'

/**
 * Where peers may be reached, in the order in which to dial. The first is the address that answered last; until one has,
 * it is the first that was learned, usually from a configuration. What peers say of addresses comes behind it, newest
 * first: many of a machine's addresses lead nowhere from another machine. Noise proves that the right peer answers at
 * one. At most {@link MAX_ADDRESSES} of a peer are kept, and none that this version cannot dial. Hints, which other peers
 * have told of a peer, come last. They are kept apart, as many of them, so that they displace nothing.
 */
export class AddressBook {
  /** Raised when an address comes or goes; not by the order alone. */
  changes = 0
  private readonly known = new Map<string, readonly string[]>()
  private readonly hints = new Map<string, readonly string[]>()

  /** Puts what is new of `addresses` behind the first that is known. */
  learn(peerId: string, addresses: readonly string[]): void {
    const [first, ...others] = this.knownOf(peerId)
    const usable = addresses.filter((address) => isAddressOf(peerId, address))
    const news = usable.filter((address) => address !== first && !others.includes(address))
    const all = first === undefined ? news : [first, ...news, ...others]
    this.known.set(peerId, [...new Set(all)].slice(0, MAX_ADDRESSES))
    this.dropHints(peerId, news)
    if (news.length > 0) this.changes++
  }

  /** Other peers have told these addresses of the peer, which may be of the past or wrong. */
  hint(peerId: string, addresses: readonly string[]): void {
    const all = this.of(peerId)
    const news = addresses.filter((address) => !all.includes(address) && isAddressOf(peerId, address))
    if (news.length === 0) return
    const hints = [...new Set([...news, ...this.hintsOf(peerId)])].slice(0, MAX_ADDRESSES)
    if (!this.known.has(peerId)) this.known.set(peerId, [])
    this.hints.set(peerId, hints)
    this.changes++
  }

  /** Hints come last. */
  of(peerId: string): readonly string[] {
    return [...this.knownOf(peerId), ...this.hintsOf(peerId)]
  }

  /** The peer answered at `address`. Those before it were dialed earlier and did not answer, so they come last. */
  answered(peerId: string, address: string): void {
    const known = this.knownOf(peerId)
    const at = known.indexOf(address)
    if (at > 0) this.known.set(peerId, [...known.slice(at), ...known.slice(0, at)])
    if (at >= 0 || !this.hintsOf(peerId).includes(address)) return
    // Noise has proved the hint.
    this.known.set(peerId, [address, ...known].slice(0, MAX_ADDRESSES))
    this.dropHints(peerId, [address])
  }

  /** The addresses of each peer. */
  get all(): ReadonlyMap<string, readonly string[]> {
    return new Map(this.peerIds.map((peerId) => [peerId, this.of(peerId)]))
  }

  /** The peers, in the order in which they were learned. */
  get peerIds(): string[] {
    return [...this.known.keys()]
  }

  private knownOf(peerId: string): readonly string[] {
    return this.known.get(peerId) ?? []
  }

  private hintsOf(peerId: string): readonly string[] {
    return this.hints.get(peerId) ?? []
  }

  private dropHints(peerId: string, addresses: readonly string[]): void {
    const left = this.hintsOf(peerId).filter((address) => !addresses.includes(address))
    if (left.length > 0) this.hints.set(peerId, left)
    else this.hints.delete(peerId)
  }
}
