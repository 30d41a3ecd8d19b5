import { MAX_ADDRESSES } from '@quire/protocol'
import { isAddressOf } from './multiaddr.js'

/**
 * Keeps the addresses of peers in the order in which to dial them.
 *
 * The address that answered last comes first. Until one has answered, the first address learned stays in front; it
 * usually comes from a configuration. Addresses that the peer reports follow, newest first: many addresses of a machine
 * cannot be reached from another machine. Hints, which other peers report, come last. Noise proves that the right peer
 * answers at an address, so a wrong one costs only time.
 *
 * The book keeps {@link MAX_ADDRESSES} addresses and as many hints of each peer, so hints never displace addresses. It
 * keeps no address that this version cannot dial.
 */
export class AddressBook {
  /** Counts the changes of content. A change of order alone does not count. */
  changes = 0
  private readonly known = new Map<string, readonly string[]>()
  private readonly hints = new Map<string, readonly string[]>()

  /** Inserts those of `addresses` that are new behind the first known address. */
  learn(peerId: string, addresses: readonly string[]): void {
    const [first, ...others] = this.knownOf(peerId)
    const usable = addresses.filter((address) => isAddressOf(peerId, address))
    const news = usable.filter((address) => address !== first && !others.includes(address))
    const all = first === undefined ? news : [first, ...news, ...others]
    this.known.set(peerId, [...new Set(all)].slice(0, MAX_ADDRESSES))
    this.dropHints(peerId, news)
    if (news.length > 0) this.changes++
  }

  /** Adds addresses that other peers have reported, which may be outdated or wrong. */
  hint(peerId: string, addresses: readonly string[]): void {
    const all = this.of(peerId)
    const news = addresses.filter((address) => !all.includes(address) && isAddressOf(peerId, address))
    if (news.length === 0) return
    const hints = [...new Set([...news, ...this.hintsOf(peerId)])].slice(0, MAX_ADDRESSES)
    if (!this.known.has(peerId)) this.known.set(peerId, [])
    this.hints.set(peerId, hints)
    this.changes++
  }

  /** All addresses of the peer in the order in which to dial them. */
  of(peerId: string): readonly string[] {
    return [...this.knownOf(peerId), ...this.hintsOf(peerId)]
  }

  /**
   * Moves `address`, where the peer answered, to the front. The addresses before it did not answer and move to the end.
   */
  answered(peerId: string, address: string): void {
    const known = this.knownOf(peerId)
    const at = known.indexOf(address)
    if (at > 0) this.known.set(peerId, [...known.slice(at), ...known.slice(0, at)])
    if (at >= 0 || !this.hintsOf(peerId).includes(address)) return
    // The peer has proved its identity there, so the hint becomes an address.
    this.known.set(peerId, [address, ...known].slice(0, MAX_ADDRESSES))
    this.dropHints(peerId, [address])
  }

  /** The addresses of every peer, in the order in which to dial them. */
  get all(): ReadonlyMap<string, readonly string[]> {
    return new Map(this.peerIds.map((peerId) => [peerId, this.of(peerId)]))
  }

  /** The peers in the order in which the book learned of them. */
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
