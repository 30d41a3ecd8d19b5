/** What a client knows of its cluster: its peers, the leader, and the term below which the client believes nobody. */
import { AddressBook, isPeerId, parsePeerAddresses, refuseSharedPlaces } from '@quire/net'
import { DEFAULT_ROUND_TRIP_MS, InvalidArgumentError, NotAuthorizedError, type Member } from '@quire/protocol'
import { checkRoundTripOf } from './claims.js'
import { PeerOutcomes } from './peer-outcomes.js'

export interface Target {
  readonly peerId: string
  readonly addresses: readonly string[]
}

/** What a peer says of its cluster when it answers a hello. */
export interface ClusterAnswer {
  readonly clusterId: string
  readonly founding: string
  readonly members: readonly Member[]
  /** See `timingOf`. */
  readonly roundTripMs: number
}

/** The peer belongs to another cluster. Others may still belong to the right one. */
export class ForeignPeerError extends NotAuthorizedError {}

export class ClusterView {
  clusterId = ''
  /** The highest term seen. Connections to a leader of a lower one are refused (rule 3). */
  fence = 0
  leader = ''
  /** What the cluster's time-outs derive from, as far as is known; see `timingOf`. */
  roundTripMs = DEFAULT_ROUND_TRIP_MS
  readonly words = new PeerOutcomes()
  private readonly book = new AddressBook()
  /** Peers that turned out to belong to another cluster. */
  private readonly foreign = new Set<string>()
  private next = 0

  /**
   * `founding` pins the digest of the configuration that the cluster was founded from; empty: that of the first peer that answers.
   * Throws InvalidArgumentError for the first address that nobody could dial, or that two peers share.
   */
  constructor(
    peers: string | readonly string[],
    public founding = ''
  ) {
    const parsed = parsePeerAddresses(peers, 'peers')
    refuseSharedPlaces(parsed, 'peers')
    for (const peerId of new Set(parsed.map((each) => each.peerId))) {
      const own = parsed.filter((each) => each.peerId === peerId)
      this.book.learn(
        peerId,
        own.map(({ address }) => address)
      )
    }
  }

  /** Every known peer belongs to another cluster. */
  get isLost(): boolean {
    return this.book.peerIds.every((peerId) => this.foreign.has(peerId))
  }

  /** The leader if one is known, else the peers in turn; none of `except`. Undefined: there is no other. */
  pick(except: ReadonlySet<string> = new Set()): Target | undefined {
    const { isLost, leader } = this
    const all = this.book.peerIds
    const from = this.next % all.length
    const inTurn = [...all.slice(from), ...all.slice(0, from)]
    const ids = inTurn.filter((peerId) => !except.has(peerId) && (isLost || !this.foreign.has(peerId)))
    const peerId = ids.includes(leader) ? leader : ids[0]
    if (peerId === undefined) return undefined
    if (peerId !== leader) this.next = all.indexOf(peerId) + 1
    return { peerId, addresses: this.book.of(peerId) }
  }

  /** The connection to this leader has ended: the others are asked first. */
  lost(peerId: string): void {
    if (this.leader === peerId) this.leader = ''
    this.next = this.book.peerIds.indexOf(peerId) + 1
  }

  others(than: ReadonlySet<string>): string[] {
    return this.book.peerIds.filter((peerId) => !than.has(peerId))
  }

  /** Why there is no connection to a leader, in one line. */
  whyNoLeader(): string {
    return this.words.summary(this.book.all)
  }

  /** The peer answered at this one of its addresses. */
  answered(peerId: string, address: string): void {
    this.book.answered(peerId, address)
  }

  /**
   * A peer has said which cluster it belongs to, and who else does. Throws ForeignPeerError if that is another cluster,
   * and UnavailableError if it makes no sense; then the view stays what it was.
   */
  heard(from: string, { clusterId, founding, members, roundTripMs }: ClusterAnswer): void {
    const isForeign =
      (this.clusterId !== '' && clusterId !== this.clusterId) || (this.founding !== '' && founding !== this.founding)
    if (isForeign) {
      this.foreign.add(from)
      const wanted = this.clusterId === '' ? this.founding : `${this.clusterId} (${this.founding})`
      throw new ForeignPeerError(from, `it belongs to cluster ${clusterId} (${founding}), not to ${wanted}`)
    }
    checkRoundTripOf(roundTripMs)
    this.foreign.delete(from)
    this.clusterId = clusterId
    this.founding = founding
    this.roundTripMs = roundTripMs
    this.learn(members)
  }

  /** A peer of this cluster has said where the peers are. */
  learn(members: readonly Member[]): void {
    // A peer that nobody could dial would be an argument of this program's that is wrong, and so final.
    for (const { peerId, addresses } of members) if (isPeerId(peerId)) this.book.learn(peerId, addresses)
  }

  /** Throws InvalidArgumentError if `id` is a peer's: a node cannot dial itself, so it would never reach that peer. */
  checkOwnId(id: string): void {
    if (!this.book.all.has(id)) return
    throw new InvalidArgumentError('privateKey', id, "a key of the client's own: this one is the key of a peer")
  }
}
