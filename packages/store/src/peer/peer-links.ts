import {
  ClosedError,
  InvalidArgumentError,
  MAX_RAFT_FRAME_BYTES,
  NotAuthorizedError,
  PROTOCOL_RAFT,
  decodeFrame,
  encodeFrame,
  errorFromWire,
  errorToWire,
  isRaftLinkMessage,
  raftMessage,
  type Clock,
  type FrameStream,
  type Network,
  type RaftIntroduction,
  type RaftLinkMessage,
  type RaftMessage,
  type RaftSighting,
  type RaftStreamMessage,
  type Random
} from '@quire/protocol'
import { shortId, type AddressBook } from '@quire/net'
import type { Logger } from 'pino'
import { Refusals } from '../server/refusals.js'
import type { Claim } from './evidence.js'
import type { PeerIdentity, Refusal } from './identity.js'
import { HELLO_TIMEOUT_MS, Link } from './link.js'

/** The last entry that a peer has acknowledged and that is committed. */
export interface Acknowledged {
  readonly peerId: string
  readonly term: number
  readonly index: number
}

export interface PeerLinksInit {
  readonly network: Network
  readonly clock: Clock
  readonly random: Random
  readonly identity: PeerIdentity
  /** How long a remote may take for each step of opening a link; see `timingOf`. */
  readonly stepMs: () => number
  /** Where this peer listens now. */
  readonly addresses: readonly string[]
  /** Where the others were last seen; the links add what they learn. */
  readonly book: AddressBook
  /** A message of a peer for one of the Raft groups. */
  readonly receive: (group: number, from: string, message: RaftMessage) => void
  /** Of each follower, while this node leads. */
  readonly acknowledged: () => Iterable<Acknowledged>
  /** Resolves when a majority has confirmed that this node leads; undefined when it does not lead. */
  readonly confirmLeadership: () => Promise<unknown> | undefined
  readonly logger?: Logger
  /** Bytes that wait for one peer; what comes on top is dropped. Default 8 MiB. */
  readonly maxQueuedBytes?: number
}

export interface PeerAddresses {
  readonly peerId: string
  readonly addresses: readonly string[]
}

/** A peer that this one refuses, or that refuses this one. */
export interface Quarantined {
  readonly peerId: string
  readonly reason: string
}

/**
 * Streams between peers, shared by all Raft groups: one outgoing for each remote, opened again whenever it breaks. Answers come on
 * the remote's own outgoing stream. Lossy, as Raft allows: what cannot be sent is dropped. Each stream begins with the handshake of
 * docs/identity.md.
 */
export interface PeerLinks {
  /** The other peers of the cluster. Links to others are closed, and others are refused from now on. */
  setPeers(peers: readonly PeerAddresses[]): void
  send(group: number, to: string, message: RaftMessage): void
  readonly quarantined: readonly Quarantined[]
  close(): void
}

const DEFAULT_QUEUED_BYTES = 8 * 1024 * 1024
/**
 * A peer that is refused comes again within a few seconds. A refusal that is not repeated was about a process that is gone: its hello
 * was still on its way when the next process had introduced itself.
 */
const QUARANTINE_SHOWN_MS = 15_000
/** How often evidence is gathered, saved and passed on. */
const EVIDENCE_INTERVAL_MS = 1_000

export function createPeerLinks(init: PeerLinksInit): PeerLinks {
  return new Links(init)
}

interface Incoming {
  readonly stream: FrameStream
  readonly life: Claim
}

class Links implements PeerLinks {
  private readonly links = new Map<string, Link>()
  /** Streams that remotes have opened, after the handshake. */
  private readonly incoming = new Map<string, Incoming>()
  /** Streams in the handshake, with what cancels their time limit. */
  private readonly opening = new Map<FrameStream, () => void>()
  private readonly quarantine = new Map<string, { readonly reason: string; readonly atMs: number }>()
  private readonly refusals: Refusals
  /** What of the evidence was passed on, by peer. */
  private readonly told = new Map<string, number>()
  /** What each remote said last of the others. */
  private readonly heard = new Map<string, readonly RaftSighting[]>()
  /** Peers whose new folder does not take part yet, or of which this peer does not durably remember that it does. */
  private readonly newcomers = new Set<string>()
  /** Those of them of which it will in a moment. */
  private readonly joining = new Set<string>()
  /** Those of them whose admission waits for a quorum round. */
  private readonly admitting = new Set<string>()
  private cancelTick: () => void = () => {}
  private closed = false

  constructor(private readonly init: PeerLinksInit) {
    this.refusals = new Refusals(init.logger, 'peer')
    const accept = (stream: FrameStream): void => this.accept(stream)
    // A remote that may not connect is told why, too: it may be a voter of another configuration of this cluster.
    init.network.handle(PROTOCOL_RAFT, MAX_RAFT_FRAME_BYTES, accept, accept)
    this.scheduleTick()
  }

  get quarantined(): Quarantined[] {
    const since = this.init.clock.now() - QUARANTINE_SHOWN_MS
    return [...this.quarantine]
      .filter(([, { atMs }]) => atMs >= since)
      .map(([peerId, { reason }]) => ({ peerId, reason }))
  }

  setPeers(peers: readonly PeerAddresses[]): void {
    const wanted = new Map(
      peers.filter(({ peerId }) => peerId !== this.init.network.id).map((peer) => [peer.peerId, peer])
    )
    for (const [peerId, link] of this.links) {
      if (wanted.has(peerId)) continue
      link.close()
      this.links.delete(peerId)
      this.heard.delete(peerId)
      this.quarantine.delete(peerId)
      this.incoming.get(peerId)?.stream.close()
      this.incoming.delete(peerId)
    }
    for (const { peerId, addresses } of wanted.values()) {
      this.init.book.learn(peerId, addresses)
      if (!this.links.has(peerId)) this.links.set(peerId, this.link(peerId))
    }
  }

  send(group: number, to: string, message: RaftMessage): void {
    if (this.init.identity.isAdmitted) this.links.get(to)?.send(group, message)
  }

  close(): void {
    this.closed = true
    this.cancelTick()
    for (const link of this.links.values()) link.close()
    for (const [stream, cancel] of this.opening) {
      cancel()
      stream.close()
    }
    for (const { stream } of this.incoming.values()) stream.close()
    this.links.clear()
    this.opening.clear()
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
      introduce: () => this.introduce(),
      welcomed: (introduction) => this.welcomed(remote, introduction),
      refused: (message) => this.refusedBy(remote, message),
      opened: () => this.tell(remote)
    })
  }

  private introduce(): RaftIntroduction {
    return this.init.identity.introduce(this.init.addresses)
  }

  private async welcomed(remote: string, introduction: RaftIntroduction): Promise<RaftStreamMessage | undefined> {
    const refusal = this.refusal(remote, introduction) ?? (await this.record(remote, introduction))
    if (refusal !== undefined) return this.refuse(remote, refusal)
    this.met(remote, introduction)
    if (this.init.identity.acceptedBy(introduction)) this.admitted('all founding voters have agreed')
    return undefined
  }

  /** The remote's configuration travels with its refusal when this peer is one of its voters, and the other way round. */
  private refusedBy(
    remote: string,
    { error, reason, founding }: Extract<RaftStreamMessage, { type: 'raftRefused' }>
  ): RaftStreamMessage | undefined {
    const { identity } = this.init
    if (reason === 'founding' && founding !== undefined) {
      this.report(remote, identity.describeDifference(remote, founding))
    } else {
      this.report(remote, new NotAuthorizedError('this peer', reasonOf(errorFromWire(error))))
    }
    if (reason === 'evidence') this.flag(remote, `it refuses this peer: ${reasonOf(errorFromWire(error))}`)
    const own = reason === 'founding' ? identity.foundingFor(remote) : undefined
    return own === undefined ? undefined : { type: 'raftRefused', error, reason, founding: own }
  }

  // ---- incoming

  private accept(stream: FrameStream): void {
    if (this.closed) return stream.close()
    stream.onFrame = (frame) => void this.hello(stream, frame)
    stream.onClose = () => this.ended(stream)
    this.opening.set(
      stream,
      this.init.clock.schedule(HELLO_TIMEOUT_MS, () => {
        this.opening.delete(stream)
        stream.abort(new Error('no hello in time'))
      })
    )
  }

  private async hello(stream: FrameStream, frame: Uint8Array): Promise<void> {
    const { remote } = stream
    stream.onFrame = () => stream.abort(new Error('a frame before the answer to the hello'))
    const introduction = this.readHello(stream, frame)
    if (introduction === undefined) return
    const refusal = this.refusal(remote, introduction) ?? (await this.record(remote, introduction))
    if (!this.opening.has(stream)) return
    if (refusal !== undefined) return this.turnAway(stream, refusal)
    this.settle(stream)
    const older = this.incoming.get(remote)
    this.incoming.set(remote, { stream, life: introduction })
    stream.onFrame = (bytes) => this.message(stream, bytes)
    stream.send(encodeFrame(raftMessage, { type: 'raftWelcome', ...this.introduce() }))
    // The remote opens a new one only when it has lost the old one.
    older?.stream.abort(new ClosedError('a stream that was replaced by a newer one'))
    this.met(remote, introduction)
    this.links.get(remote)?.remoteIsUp()
  }

  private readHello(stream: FrameStream, frame: Uint8Array): RaftIntroduction | undefined {
    try {
      const { message } = decodeFrame(raftMessage, frame)
      if (message.type === 'raftHello') return message
      throw new Error(`unexpected ${message.type}`)
    } catch (error) {
      const problem = new InvalidArgumentError('frame', (error as Error).message, 'raftHello')
      this.turnAway(stream, { error: problem, reason: 'version', founding: undefined })
      return undefined
    }
  }

  /** Says why. With a foreign configuration the remote may answer with its own, so that this side can name the difference. */
  private turnAway(stream: FrameStream, refusal: Refusal): void {
    const { remote } = stream
    stream.send(encodeFrame(raftMessage, this.refuse(remote, refusal)))
    const done = (): void => {
      this.settle(stream)
      stream.close()
    }
    if (refusal.reason !== 'founding') return done()
    stream.onFrame = (frame) => {
      try {
        const { message } = decodeFrame(raftMessage, frame)
        if (message.type === 'raftRefused' && message.founding !== undefined) this.refusedBy(remote, message)
      } catch {
        // It was refused already; nothing depends on what it says.
      }
      done()
    }
  }

  private message(stream: FrameStream, bytes: Uint8Array): void {
    const { remote } = stream
    try {
      const { group, message } = decodeFrame(raftMessage, bytes)
      if (isRaftLinkMessage(message)) return this.linkMessage(stream, message)
      if (!this.init.identity.isAdmitted) return
      // Dropped, and sent again. It must not count before this peer durably remembers that it may: see `tookPart`.
      if (this.newcomers.has(remote)) return this.tookPart(remote)
      this.init.receive(group, remote, message)
    } catch (error) {
      this.refusals.log(remote, error as Error)
      stream.abort(error as Error)
    }
  }

  private linkMessage(stream: FrameStream, message: RaftLinkMessage): void {
    const { remote } = stream
    switch (message.type) {
      case 'raftSeen':
        this.heard.set(remote, message.peers)
        this.init.identity.learn(message.peers.filter(({ peerId }) => this.links.has(peerId)))
        this.save()
        if (message.peers.some(({ peerId, admitted }) => peerId === remote && admitted)) this.tookPart(remote)
        return this.cutStale()
      case 'raftAdmitted':
        if (this.init.identity.admittedByLeader(message.incarnation))
          this.admitted(`${shortId(remote)} leads and has agreed`)
        return
      case 'raftRefused':
        this.refusedBy(remote, message)
        return stream.close()
      default:
        throw new Error(`${message.type} after the handshake`)
    }
  }

  private ended(stream: FrameStream): void {
    this.settle(stream)
    if (this.incoming.get(stream.remote)?.stream === stream) this.incoming.delete(stream.remote)
  }

  private settle(stream: FrameStream): void {
    this.opening.get(stream)?.()
    this.opening.delete(stream)
  }

  // ---- who is who

  private refusal(remote: string, introduction: RaftIntroduction): Refusal | undefined {
    this.gather()
    return this.init.identity.refusal(remote, introduction, this.links.has(remote))
  }

  /** Remembers what the remote says, durably, and judges it again: another process of the same peer may have come meanwhile. */
  private async record(remote: string, introduction: RaftIntroduction): Promise<Refusal | undefined> {
    await this.init.identity.met(introduction)
    return this.refusal(remote, introduction)
  }

  private met(remote: string, { addresses, admitted }: RaftIntroduction): void {
    this.quarantine.delete(remote)
    if (admitted) this.newcomers.delete(remote)
    else this.newcomers.add(remote)
    this.init.book.learn(remote, addresses)
    this.cutStale()
  }

  private refuse(remote: string, { error, reason, founding }: Refusal): RaftStreamMessage {
    if (reason === 'evidence') this.flag(remote, reasonOf(error))
    if (reason === 'evidence' || reason === 'founding') this.report(remote, error)
    else this.refusals.log(remote, error)
    return { type: 'raftRefused', error: errorToWire(error), reason, founding }
  }

  private flag(peerId: string, reason: string): void {
    this.quarantine.set(peerId, { reason, atMs: this.init.clock.now() })
  }

  private report(remote: string, error: Error): void {
    this.refusals.log(remote, error, {}, 'error')
  }

  /** Streams of a process that is not the peer's newest end; so does all that is on its way. */
  private cutStale(): void {
    const { evidence } = this.init.identity
    for (const [peerId, link] of this.links) {
      const reason = new ClosedError('a link to an older process of the peer')
      if (link.life !== undefined && !evidence.isCurrent(peerId, link.life)) link.cut(reason)
      const incoming = this.incoming.get(peerId)
      if (incoming !== undefined && !evidence.isCurrent(peerId, incoming.life)) incoming.stream.abort(reason)
    }
  }

  // ---- evidence and admission

  private scheduleTick(): void {
    this.cancelTick = this.init.clock.schedule(EVIDENCE_INTERVAL_MS, () => {
      this.scheduleTick()
      this.gather()
      this.save()
      for (const peerId of this.links.keys()) {
        this.tell(peerId)
        this.admit(peerId)
      }
    })
  }

  private save(): void {
    this.init.identity.save().catch((err: unknown) => this.init.logger?.warn({ err }, 'evidence was not saved'))
  }

  private gather(): void {
    const { identity, acknowledged } = this.init
    for (const { peerId, term, index } of acknowledged()) identity.evidence.committed(peerId, term, index)
  }

  /** Passes on what this peer remembers, if that is news to the remote. */
  private tell(peerId: string): void {
    const link = this.links.get(peerId)
    const { identity } = this.init
    const news = identity.news()
    if (link === undefined || !link.isOpen) return void this.told.delete(peerId)
    if (this.told.get(peerId) === news) return
    this.told.set(peerId, news)
    link.tell({ type: 'raftSeen', peers: identity.sightings() })
  }

  /**
   * A leader lets a new folder take part when every other voter knows it as the peer's folder, and a majority has confirmed the leader
   * after that (docs/identity.md, Admission).
   */
  private admit(peerId: string): void {
    const { identity, confirmLeadership, logger } = this.init
    const link = this.links.get(peerId)
    const { incarnation } = link?.life ?? {}
    if (link === undefined || incarnation === undefined) return
    if (!this.newcomers.has(peerId) || this.admitting.has(peerId)) return
    if (!this.isKnownToAll(peerId, incarnation)) return
    const confirmed = confirmLeadership()
    if (confirmed === undefined) return
    this.admitting.add(peerId)
    confirmed
      .then(async () => {
        // The round must be about the folder that is there now.
        if (link.life?.incarnation !== incarnation) return
        identity.evidence.tookPart(peerId)
        await identity.save()
        link.tell({ type: 'raftAdmitted', incarnation })
      })
      .catch((err: unknown) => logger?.debug({ err, peer: peerId }, 'not admitted'))
      .finally(() => this.admitting.delete(peerId))
  }

  /** A vote of the peer's former folder counts with nobody then: whoever counted one remembers that folder. */
  private isKnownToAll(peerId: string, incarnation: string): boolean {
    return [...this.links.keys()].every(
      (other) =>
        other === peerId ||
        this.heard.get(other)?.some((each) => each.peerId === peerId && each.incarnation === incarnation)
    )
  }

  /** The remote takes part. Its messages count from when this is durable: until then its folder may be replaced by another. */
  private tookPart(peerId: string): void {
    if (!this.newcomers.has(peerId) || this.joining.has(peerId)) return
    const { identity, logger } = this.init
    identity.evidence.tookPart(peerId)
    this.joining.add(peerId)
    identity
      .save()
      .then(() => this.newcomers.delete(peerId))
      .catch((err: unknown) => logger?.warn({ err }, 'evidence was not saved'))
      .finally(() => this.joining.delete(peerId))
  }

  private admitted(why: string): void {
    this.init.logger?.info({ why }, 'this peer takes part from now on')
    // At once: the others drop its messages until they know.
    this.told.clear()
    for (const peerId of this.links.keys()) this.tell(peerId)
  }
}

function reasonOf(error: Error): string {
  const { reason } = error as { readonly reason?: unknown }
  return typeof reason === 'string' ? reason : error.message
}
