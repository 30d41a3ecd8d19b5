/** What a client knows of its cluster. */
import { AddressBook, isPeerId, parsePeerAddresses, refuseSharedPlaces } from '@quire/net'
import {
  DEFAULT_ROUND_TRIP_MS,
  InvalidArgumentError,
  NotAuthorizedError,
  type Member,
  type RelayPlace
} from '@quire/protocol'
import { checkRoundTripOf } from './claims.js'
import { PeerOutcomes } from './peer-outcomes.js'
import { Routes } from './routes.js'

export interface Target {
  readonly peerId: string
  readonly addresses: readonly string[]
  /** The peer to go through. Undefined: directly. */
  readonly relay?: RelayPlace
}

/** A peer's description of its cluster, in its answer to a hello. */
export interface ClusterAnswer {
  readonly clusterId: string
  readonly founding: string
  readonly members: readonly Member[]
  /** See `timingOf`. */
  readonly roundTripMs: number
}

/** The peer belongs to another cluster. Other known peers may still belong to the right one. */
export class ForeignPeerError extends NotAuthorizedError {}

/** Remembers what the peers of a cluster say about it. */
export class ClusterView {
  clusterId = ''
  /** The highest term seen. The client refuses connections to leaders of lower terms (rule 3). */
  fence = 0
  leader = ''
  /** The base of the cluster's timeouts; the default until a peer names it. See `timingOf`. */
  roundTripMs = DEFAULT_ROUND_TRIP_MS
  readonly peerOutcomes = new PeerOutcomes()
  readonly routes = new Routes()
  private readonly book = new AddressBook()
  /** Peers that belong to another cluster. */
  private readonly foreign = new Set<string>()
  private next = 0

  /**
   * `founding` pins the digest of the configuration that founded the cluster. If it is empty, the first peer that
   * answers pins it. Throws InvalidArgumentError for the first address that cannot be dialed, or that two peers share.
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

  /** Returns the leader if it is known, otherwise the next peer in turn, and never one of `except`. */
  pick(except: ReadonlySet<string> = new Set()): Target | undefined {
    const { isLost, leader } = this
    const all = this.book.peerIds
    const from = this.next % all.length
    const inTurn = [...all.slice(from), ...all.slice(0, from)]
    const ids = inTurn.filter((peerId) => !except.has(peerId) && (isLost || !this.foreign.has(peerId)))
    const peerId = ids.includes(leader) ? leader : ids[0]
    if (peerId === undefined) return undefined
    if (peerId !== leader) this.next = all.indexOf(peerId) + 1
    return this.target(peerId)
  }

  /** The peer at its own addresses, or through `relay`. */
  target(peerId: string, relay?: string): Target {
    const addresses = this.book.of(peerId)
    if (relay === undefined) return { peerId, addresses }
    return { peerId, addresses, relay: { peerId: relay, addresses: this.book.of(relay) } }
  }

  /** The connection to this leader has ended: the next search asks the other peers first. */
  lost(peerId: string): void {
    if (this.leader === peerId) this.leader = ''
    this.next = this.book.peerIds.indexOf(peerId) + 1
  }

  others(than: ReadonlySet<string>): string[] {
    return this.book.peerIds.filter((peerId) => !than.has(peerId))
  }

  /** Says in one line why the client has no leader. */
  whyNoLeader(): string {
    return this.peerOutcomes.summary(this.book.all)
  }

  /** The peer has answered at this address. */
  answered(peerId: string, address: string): void {
    this.book.answered(peerId, address)
  }

  /**
   * A peer has described its cluster. Throws ForeignPeerError if that is another cluster, and UnavailableError if the
   * description makes no sense. The view does not change then.
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

  /** A peer of this cluster has named the addresses of the peers. */
  learn(members: readonly Member[]): void {
    // Skip malformed ids: dialing one would fail as a wrong argument of this program, which is final.
    for (const { peerId, addresses } of members) if (isPeerId(peerId)) this.book.learn(peerId, addresses)
  }

  /**
   * Throws InvalidArgumentError if `id` belongs to a peer. A node cannot dial itself, so it would never reach that
   * peer.
   */
  checkOwnId(id: string): void {
    if (!this.book.all.has(id)) return
    throw new InvalidArgumentError('privateKey', id, "a key of the client's own: this one is the key of a peer")
  }
}
