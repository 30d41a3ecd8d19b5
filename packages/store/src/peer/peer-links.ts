import {
  ClosedError,
  decode,
  decodeFrame,
  encodeFrame,
  isRaftLinkMessage,
  raftMessage,
  type Clock,
  type FrameStream,
  type Network,
  type RaftIntroduction,
  type RaftLinkMessage,
  type GroupMessage,
  type RaftStreamMessage,
  type Random
} from '@quire/protocol'
import type { AddressBook } from '@quire/net'
import type { Logger } from 'pino'
import { AddressExchange } from './address-exchange.js'
import { encodeCluster } from './cluster.js'
import { EvidenceExchange, type Acknowledged } from './evidence-exchange.js'
import { clusterConfig, peerIdOf, type ReplicatedConfig } from '../state/index.js'
import { memberOf, type Claim } from './evidence.js'
import type { StateReport } from './comparison.js'
import type { PeerIdentity, IntroductionRefusal, Standing } from './identity.js'
import { IncomingHandshakes, type JoinAnswer, type JoinMessage } from './incoming-handshakes.js'
import { GroupFrames } from './group-frames.js'
import { KnownMembers } from './known-members.js'
import { Link } from './link.js'
import { PeerRefusals } from './peer-refusals.js'
import type { Quarantined } from './quarantine.js'

export type { Acknowledged } from './evidence-exchange.js'
export type { JoinAnswer, JoinMessage } from './incoming-handshakes.js'
export type { Quarantined } from './quarantine.js'

export interface PeerLinksInit {
  readonly network: Network
  readonly clock: Clock
  readonly random: Random
  readonly identity: PeerIdentity
  /** The time limit for each step of opening a link; see `timingOf`. */
  readonly stepMs: () => number
  /** The addresses at which this peer listens. */
  readonly addresses: readonly string[]
  /** The last known addresses of the others. The links add what they learn. */
  readonly book: AddressBook
  /** Called with each Raft message of a member; `from` is its member id. */
  readonly receive: (group: number, from: string, message: GroupMessage) => void
  /** The committed entries that the followers have acknowledged, while this node leads. */
  readonly acknowledged: () => Iterable<Acknowledged>
  /** Resolves when a majority has confirmed that this node leads; undefined while it does not lead. */
  readonly confirmLeadership: () => Promise<unknown> | undefined
  /** Answers a peer that asks to join. */
  readonly join: (remote: string, request: JoinMessage) => Promise<JoinAnswer>
  /** A member tells of its state; `member` is its member id. */
  readonly heardState: (member: string, report: StateReport) => void
  readonly logger?: Logger
  /** The limit of bytes that wait for one peer. Further messages are dropped. Default 8 MiB. */
  readonly maxQueuedBytes?: number
}

/**
 * Carries the messages of all Raft groups between peers.
 *
 * There is one outgoing stream for each remote, which is opened again whenever it breaks. Answers come on the remote's
 * own outgoing stream. Each stream begins with the handshake of docs/identity.md. Messages that cannot be sent are
 * dropped, as Raft allows.
 */
export interface PeerLinks {
  /**
   * Sets the newest configuration that was applied, or with which the peer starts. It never goes back. Closes the links
   * to all peers that are no members, and refuses these from now on. Members may tell of further ones.
   */
  configure(config: ReplicatedConfig): void
  /** The ids of the members, by the configuration that was set last and by what other members tell. */
  readonly members: ReadonlySet<string>
  /** Sends to the member with this id, or drops the message if there is no link to that very member. */
  send(group: number, to: string, message: GroupMessage): void
  /** Tells all members of this peer's state, and members that connect later on as well, until a newer report. */
  tellState(report: StateReport): void
  readonly quarantined: readonly Quarantined[]
  close(): void
}

const DEFAULT_QUEUED_BYTES = 8 * 1024 * 1024
export function createPeerLinks(init: PeerLinksInit): PeerLinks {
  return new Links(init)
}

interface Incoming {
  readonly stream: FrameStream
  readonly life: Claim
  readonly member: string
}

/** Holds the streams of this peer to other members, with the streams that these have opened. */
class Links implements PeerLinks {
  /** By PeerId: a peer runs at most one of the members that have its PeerId. */
  private readonly links = new Map<string, Link>()
  private readonly known: KnownMembers
  private state: StateReport | undefined
  /** The streams that remotes have opened, after the handshake. */
  private readonly incoming = new Map<string, Incoming>()
  private readonly handshakes: IncomingHandshakes
  private readonly refusals: PeerRefusals
  private readonly exchange: EvidenceExchange
  private readonly frames = new GroupFrames()
  private readonly addresses: AddressExchange

  constructor(private readonly init: PeerLinksInit) {
    const { identity, clock, book, logger, acknowledged, confirmLeadership } = init
    const { links } = this
    this.refusals = new PeerRefusals({ identity, clock, logger, isMember: (peerId) => links.has(peerId) })
    const remembered = (): string[] => identity.evidence.sightings().map(({ member }) => member)
    this.known = new KnownMembers({ self: identity.member, remembered })
    const isMember = (member: string): boolean => this.known.ids.has(member)
    this.exchange = new EvidenceExchange({ clock, identity, links, isMember, acknowledged, confirmLeadership, logger })
    this.addresses = new AddressExchange({ identity, book, links })
    this.handshakes = new IncomingHandshakes({
      ...{ network: init.network, clock, refusals: this.refusals, join: init.join, logger },
      isMember: (peerId) => links.has(peerId),
      refusal: (remote, introduction) => this.refusal(remote, introduction),
      record: (remote, introduction) => this.record(remote, introduction),
      accepted: (stream, introduction) => this.accepted(stream, introduction),
      ended: (stream) => this.ended(stream),
      shown: (introduction, config) => this.shown(introduction, config)
    })
  }

  get quarantined(): Quarantined[] {
    return this.refusals.quarantined
  }

  get members(): ReadonlySet<string> {
    return this.known.ids
  }

  configure(config: ReplicatedConfig): void {
    const { book, identity, network } = this.init
    this.known.apply(config)
    // What others tell may be forged, so it forgets no evidence (docs/membership.md, A peer that is behind).
    identity.evidence.retain(this.known.ids)
    for (const { peerId, addresses } of config.members) {
      if (peerId !== network.id) book.learn(peerId, addresses)
    }
    this.follow()
    for (const link of this.links.values()) this.tellConfiguration(link)
  }

  /** Links with the members that are known now, and with no other peer. */
  private follow(): void {
    const { book, identity, network } = this.init
    const peerIds = new Set([...this.known.ids].map((member) => peerIdOf(member)))
    peerIds.delete(network.id)
    for (const [peerId, link] of this.links) {
      if (!peerIds.has(peerId)) this.remove(peerId, link)
      else this.cutOthers(peerId, link)
    }
    for (const peerId of peerIds) {
      if (this.links.has(peerId)) continue
      // After the addresses of the configuration come those from earlier processes of this peer, and then those that
      // other members have passed on.
      book.learn(peerId, identity.learned.of(peerId))
      book.hint(peerId, identity.hinted.of(peerId))
    }
    for (const { peerId, addresses } of this.known.onlyTold) book.hint(peerId, addresses)
    for (const peerId of peerIds) if (!this.links.has(peerId)) this.links.set(peerId, this.link(peerId))
  }

  /** Sends the configuration to a remote that may have an older one, and so may not know the leader by now. */
  private tellConfiguration(link: Link): void {
    const { applied } = this.known
    if (applied === undefined || !link.isOpen || link.knownRevision >= applied.revision) return
    link.knownRevision = applied.revision
    link.tell(newestConfiguration(applied))
  }

  private remove(peerId: string, link: Link): void {
    link.close()
    this.links.delete(peerId)
    this.refusals.removed(peerId)
    this.exchange.removed(peerId)
    this.addresses.removed(peerId)
    this.incoming.get(peerId)?.stream.close()
    this.incoming.delete(peerId)
  }

  /** Ends streams to a process of the peer that is a member no longer, although another one is. */
  private cutOthers(peerId: string, link: Link): void {
    const reason = new ClosedError('a link to a former member')
    if (link.member !== undefined && !this.known.ids.has(link.member)) link.cut(reason)
    const incoming = this.incoming.get(peerId)
    if (incoming !== undefined && !this.known.ids.has(incoming.member)) incoming.stream.abort(reason)
  }

  send(group: number, to: string, message: GroupMessage): void {
    if (!this.init.identity.isAdmitted) return
    const link = this.links.get(peerIdOf(to))
    if (link?.member === to) link.send(group, message)
  }

  tellState(report: StateReport): void {
    this.state = report
    for (const link of this.links.values()) link.tell({ type: 'raftCompared', ...report })
  }

  close(): void {
    this.exchange.close()
    this.handshakes.close()
    for (const link of this.links.values()) link.close()
    for (const { stream } of this.incoming.values()) stream.close()
    this.links.clear()
    this.incoming.clear()
  }

  // ---- outgoing

  private link(remote: string): Link {
    const { network, clock, random, book, logger, maxQueuedBytes = DEFAULT_QUEUED_BYTES } = this.init
    return new Link({
      remote,
      network,
      clock,
      random,
      book,
      logger,
      maxQueuedBytes,
      stepMs: this.init.stepMs,
      frames: this.frames,
      introduce: () => this.introduce(),
      welcomed: (introduction) => this.welcomed(remote, introduction),
      refused: (message) => {
        const answer = this.refusals.refusedBy(remote, message)
        const { applied } = this.known
        return message.reason === 'behind' && applied !== undefined ? newestConfiguration(applied) : answer
      },
      opened: () => {
        this.exchange.opened(remote)
        this.addresses.opened(remote)
        const link = this.links.get(remote)!
        this.tellConfiguration(link)
        if (this.state !== undefined) link.tell({ type: 'raftCompared', ...this.state })
      }
    })
  }

  private introduce(): RaftIntroduction {
    return this.init.identity.introduce(this.init.addresses, this.known.revision)
  }

  private async welcomed(remote: string, introduction: RaftIntroduction): Promise<RaftStreamMessage | undefined> {
    const refusal = this.refusal(remote, introduction) ?? (await this.record(remote, introduction))
    if (refusal !== undefined) return this.refusals.refuse(remote, refusal)
    this.refusals.acceptedBy(remote)
    this.met(remote, introduction)
    this.exchange.acceptedBy(introduction)
    return undefined
  }

  // ---- incoming

  private accepted(stream: FrameStream, introduction: RaftIntroduction): void {
    const { remote } = stream
    const older = this.incoming.get(remote)
    const member = memberOf(introduction)
    this.incoming.set(remote, { stream, life: introduction, member })
    stream.onFrame = (bytes) => this.message(stream, member, bytes)
    stream.send(encodeFrame(raftMessage, { type: 'raftWelcome', ...this.introduce() }))
    // The remote opens a new stream only after it has lost the old one.
    older?.stream.abort(new ClosedError('a stream that was replaced by a newer one'))
    this.met(remote, introduction)
    this.links.get(remote)?.remoteIsUp()
  }

  private message(stream: FrameStream, member: string, bytes: Uint8Array): void {
    const { remote } = stream
    try {
      const { group, message } = decodeFrame(raftMessage, bytes)
      if (isRaftLinkMessage(message)) return this.linkMessage(stream, member, message)
      if (!this.init.identity.isAdmitted) return
      // Drops the message: the remote sends it again. A newcomer counts once its admission is durable here.
      if (this.exchange.isNewcomer(remote)) return this.exchange.tookPart(remote)
      this.init.receive(group, member, message)
    } catch (error) {
      this.refusals.broken(remote, error as Error)
      stream.abort(error as Error)
    }
  }

  private linkMessage(stream: FrameStream, member: string, message: RaftLinkMessage): void {
    const { remote } = stream
    switch (message.type) {
      case 'raftSeen':
        this.exchange.heard(remote, message.peers)
        return this.cutStale()
      case 'raftAdmitted':
        return this.exchange.admittedBy(remote, message.incarnation)
      case 'raftAddresses':
        this.addresses.heard(message.members)
        return this.exchange.save()
      case 'raftConfiguration':
        return this.told(remote, message.config)
      case 'raftCompared':
        return this.init.heardState(member, { index: message.index, hash: message.hash })
      case 'raftRefused':
        this.refusals.refusedBy(remote, message)
        return stream.close()
      default:
        throw new Error(`${message.type} after the handshake`)
    }
  }

  /** A member tells its configuration. Throws CodecError. */
  private told(remote: string, bytes: Uint8Array): void {
    const config = decode(clusterConfig, bytes)
    const problem = this.known.tell(remote, config)
    if (problem !== undefined) return this.refusals.wrongConfiguration(remote, problem)
    const link = this.links.get(remote)
    if (link !== undefined) link.knownRevision = Math.max(link.knownRevision, config.revision)
    this.follow()
  }

  /** A peer that this peer has refused as `behind` shows its configuration. Throws CodecError. */
  private shown(introduction: RaftIntroduction, bytes: Uint8Array): void {
    const { from } = introduction
    const problem = this.known.show(introduction, decode(clusterConfig, bytes))
    if (problem !== undefined) return this.refusals.wrongConfiguration(from, problem)
    this.follow()
    // Its next hello may be accepted.
    this.links.get(from)?.remoteIsUp()
  }

  private ended(stream: FrameStream): void {
    if (this.incoming.get(stream.remote)?.stream === stream) this.incoming.delete(stream.remote)
  }

  // ---- acceptance

  private refusal(remote: string, introduction: RaftIntroduction): IntroductionRefusal | undefined {
    this.exchange.gather()
    return this.init.identity.refusal(remote, introduction, this.standing(remote, introduction))
  }

  /**
   * Makes the introduction durable and judges it again, because another process of the peer may have come meanwhile.
   */
  private async record(remote: string, introduction: RaftIntroduction): Promise<IntroductionRefusal | undefined> {
    await this.exchange.record(introduction)
    return this.refusal(remote, introduction)
  }

  private standing(remote: string, introduction: RaftIntroduction): Standing {
    if (!this.links.has(remote)) return 'stranger'
    if (this.known.ids.has(memberOf(introduction))) return 'member'
    return introduction.revision > this.known.revision ? 'maybeNewDirectory' : 'otherDirectory'
  }

  private met(remote: string, { addresses, admitted }: RaftIntroduction): void {
    this.refusals.accepted(remote)
    this.exchange.met(remote, admitted)
    this.init.book.learn(remote, addresses)
    this.addresses.changed()
    this.cutStale()
  }

  /**
   * Ends the streams of every process that is not the newest of its peer, with all messages that are in flight on them.
   */
  private cutStale(): void {
    const { evidence } = this.init.identity
    for (const [peerId, link] of this.links) {
      const reason = new ClosedError('a link to an older process of the peer')
      const { member, life } = link
      if (member !== undefined && life !== undefined && !evidence.isCurrent(member, life)) link.cut(reason)
      const incoming = this.incoming.get(peerId)
      if (incoming !== undefined && !evidence.isCurrent(incoming.member, incoming.life)) incoming.stream.abort(reason)
    }
  }
}

function newestConfiguration(config: ReplicatedConfig): RaftStreamMessage {
  return { type: 'raftConfiguration', config: encodeCluster(config) }
}
