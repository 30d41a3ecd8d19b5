/** Passes on where members have said that they listen, so that two that have both moved find each other (docs/identity.md). */
import type { AddressBook } from '@quire/net'
import type { Member } from '@quire/protocol'
import type { PeerIdentity } from './identity.js'
import type { Link } from './link.js'

export interface AddressExchangeInit {
  readonly identity: Pick<PeerIdentity, 'learned' | 'hinted'>
  readonly book: AddressBook
  /** To the other members. */
  readonly links: ReadonlyMap<string, Pick<Link, 'isOpen' | 'tell'>>
}

export class AddressExchange {
  /** The state of this peer's knowledge that each member was told last. */
  private readonly told = new Map<string, number>()

  constructor(private readonly init: AddressExchangeInit) {}

  /** The link to the member is new: nothing was passed on through it. */
  opened(peerId: string): void {
    this.told.delete(peerId)
    this.tell(peerId)
  }

  /** A member may have told new addresses. */
  changed(): void {
    for (const peerId of this.init.links.keys()) this.tell(peerId)
  }

  /** The remote is no member any more. */
  removed(peerId: string): void {
    this.told.delete(peerId)
  }

  /** A member passes on what others have told it. */
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

  /** Passes on what members have said of themselves, if that is news to the remote. */
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
