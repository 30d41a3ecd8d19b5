/** What a client knows of its cluster: who is in it, who leads, and the term below which it believes nobody. */
import { parsePeerAddress, parsePeerAddresses } from '@quire/net'
import { NotAuthorizedError, type Member } from '@quire/protocol'
import { PeerWords } from './peer-words.js'

export interface Target {
  readonly peerId: string
  readonly addresses: readonly string[]
}

export class ClusterView {
  clusterId = ''
  /** The highest term seen. Connections to a leader of a lower one are refused (rule 3). */
  fence = 0
  leader = ''
  readonly words = new PeerWords()
  private readonly known = new Map<string, Set<string>>()
  private next = 0

  /** Throws InvalidArgumentError for the first address that nobody could dial. */
  constructor(peers: string | readonly string[]) {
    for (const { peerId, address } of parsePeerAddresses(peers, 'peers')) this.learn({ peerId, addresses: [address] })
  }

  /** The leader if one is known, else the peers in turn; none of `except`. Undefined: there is no other. */
  pick(except: ReadonlySet<string> = new Set()): Target | undefined {
    const leader = this.known.get(this.leader)
    if (leader !== undefined && !except.has(this.leader)) return { peerId: this.leader, addresses: [...leader] }
    const all = [...this.known].filter(([peerId]) => !except.has(peerId))
    const found = all[this.next++ % all.length]
    return found === undefined ? undefined : { peerId: found[0], addresses: [...found[1]] }
  }

  hasOthers(than: ReadonlySet<string>): boolean {
    return [...this.known.keys()].some((peerId) => !than.has(peerId))
  }

  /** Why there is no connection to a leader, in one line. */
  whyNoLeader(): string {
    return this.words.summary(this.known)
  }

  /** A peer has said who is in the cluster and who leads. Throws NotAuthorizedError if it is another cluster's. */
  heard(clusterId: string, from: string, members: readonly Member[]): void {
    if (this.clusterId !== '' && clusterId !== this.clusterId) {
      throw new NotAuthorizedError(from, `it belongs to cluster ${clusterId}, not ${this.clusterId}`)
    }
    this.clusterId = clusterId
    for (const { peerId, addresses } of members) {
      // What a peer says is no argument of this program's: an address that nobody can dial is left out.
      this.learn({ peerId, addresses: addresses.filter((address) => isDialable(address)) })
    }
  }

  private learn(member: Target): void {
    const addresses = this.known.get(member.peerId) ?? new Set()
    for (const address of member.addresses) addresses.add(address)
    this.known.set(member.peerId, addresses)
  }
}

function isDialable(address: string): boolean {
  try {
    parsePeerAddress(address)
    return true
  } catch {
    return false
  }
}
