/** What a client knows of its cluster: who is in it, who leads, and the term below which it believes nobody. */
import { parsePeerAddress } from '@quire/net'
import { InvalidArgumentError, NotAuthorizedError, type Member } from '@quire/protocol'

export interface Target {
  readonly peerId: string
  readonly addresses: readonly string[]
}

export class ClusterView {
  clusterId = ''
  /** The highest term seen. Connections to a leader of a lower one are refused (rule 3). */
  fence = 0
  leader = ''
  private readonly known = new Map<string, Set<string>>()
  private next = 0

  constructor(peers: readonly string[]) {
    for (const peer of peers) {
      const { peerId, address } = parsePeerAddress(peer, 'peers')
      this.learn({ peerId, addresses: [address] })
    }
  }

  /** The leader if one is known, else the peers in turn. */
  pick(): Target {
    const leader = this.known.get(this.leader)
    if (leader !== undefined) return { peerId: this.leader, addresses: [...leader] }
    const all = [...this.known]
    const [peerId, addresses] = all[this.next++ % all.length]!
    return { peerId, addresses: [...addresses] }
  }

  /** A peer has said who is in the cluster and who leads. Throws NotAuthorizedError if it is another cluster's. */
  heard(clusterId: string, from: string, members: readonly Member[]): void {
    if (this.clusterId !== '' && clusterId !== this.clusterId) {
      throw new NotAuthorizedError(from, `it belongs to cluster ${clusterId}, not ${this.clusterId}`)
    }
    this.clusterId = clusterId
    for (const member of members) this.learn(member)
  }

  /** Throws InvalidArgumentError if `id` is a peer's: a node cannot dial itself, so it would never reach that peer. */
  checkOwnId(id: string): void {
    if (!this.known.has(id)) return
    throw new InvalidArgumentError('privateKey', id, "a key of the client's own: this one is the key of a peer")
  }

  private learn(member: Target): void {
    const addresses = this.known.get(member.peerId) ?? new Set()
    for (const address of member.addresses) addresses.add(address)
    this.known.set(member.peerId, addresses)
  }
}
