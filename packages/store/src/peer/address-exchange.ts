import type { AddressBook } from '@quire/net'
import type { Member } from '@quire/protocol'
import type { PeerIdentity } from './identity.js'
import type { Link } from './link.js'

export interface AddressExchangeInit {
  readonly identity: Pick<PeerIdentity, 'learned' | 'hinted'>
  readonly book: AddressBook
  /** The links to the other members. */
  readonly links: ReadonlyMap<string, Pick<Link, 'isOpen' | 'tell'>>
}

/**
 * Passes on the addresses that members have announced.
 *
 * So two members that have both moved find each other through a third one (docs/identity.md, Addresses).
 */
export class AddressExchange {
  /** For each member, the version of the announced addresses that it was sent last. */
  private readonly told = new Map<string, number>()

  constructor(private readonly init: AddressExchangeInit) {}

  /** A new link to the member is open, so the member gets everything again. */
  opened(peerId: string): void {
    this.told.delete(peerId)
    this.tell(peerId)
  }

  /** A member may have announced new addresses. */
  changed(): void {
    for (const peerId of this.init.links.keys()) this.tell(peerId)
  }

  /** The remote is no longer a member. */
  removed(peerId: string): void {
    this.told.delete(peerId)
  }

  /** A member passes on the addresses that others have announced to it. */
  heard(members: readonly Member[]): void {
    const { book, identity, links } = this.init
    for (const { peerId, addresses } of members) {
      if (!links.has(peerId)) continue
      const known = [...identity.learned.of(peerId), ...identity.hinted.of(peerId)]
      identity.hinted.learn(
        peerId,
        addresses.filter((address) => !known.includes(address))
      )
      book.hint(peerId, addresses)
    }
  }

  /** Sends the remote the announced addresses, unless it has them. */
  private tell(remote: string): void {
    const { identity, links } = this.init
    const { changes } = identity.learned
    const link = links.get(remote)
    if (link === undefined || !link.isOpen || this.told.get(remote) === changes) return
    this.told.set(remote, changes)
    const members = identity.learned.members.filter(({ peerId }) => peerId !== remote && links.has(peerId))
    if (members.length > 0) link.tell({ type: 'raftAddresses', members })
  }
}
