import type { Clock, RaftIntroduction, RaftSighting } from '@quire/protocol'
import { shortId } from '@quire/net'
import type { Logger } from 'pino'
import type { PeerIdentity } from './identity.js'
import type { Link } from './link.js'

/** The last committed entry that a member has acknowledged. */
export interface Acknowledged {
  readonly member: string
  readonly term: number
  readonly index: number
}

export interface EvidenceExchangeInit {
  readonly clock: Clock
  readonly identity: PeerIdentity
  /** The links to the other members. */
  readonly links: ReadonlyMap<string, Pick<Link, 'isOpen' | 'life' | 'tell'>>
  readonly isMember: (member: string) => boolean
  /** The committed entries that the followers have acknowledged, while this node leads. */
  readonly acknowledged: () => Iterable<Acknowledged>
  /** Resolves when a majority has confirmed that this node leads; undefined while it does not lead. */
  readonly confirmLeadership: () => Promise<unknown> | undefined
  readonly logger: Logger | undefined
}

/** The interval at which this peer gathers, saves and passes on evidence. */
const INTERVAL_MS = 1_000

/**
 * Exchanges evidence with the other members (docs/identity.md).
 *
 * It gathers evidence, makes it durable and passes it on. As the leader's part of admission, it also lets new folders
 * take part once every other voter knows them.
 */
export class EvidenceExchange {
  /** For each peer, the version of the evidence that it was sent last. */
  private readonly told = new Map<string, number>()
  /** For each member, the sightings that it sent last. */
  private readonly sightings = new Map<string, readonly RaftSighting[]>()
  /** Members with a new folder whose admission this peer does not durably remember yet. */
  private readonly newcomers = new Set<string>()
  /** Newcomers whose admission is being written to disk. */
  private readonly joining = new Set<string>()
  /** Newcomers whose admission waits for a quorum round. */
  private readonly admitting = new Set<string>()
  /** The last write failed, and the failure was logged. */
  private cannotWrite = false
  /** The reason why this peer may take part, while it cannot write its admission to disk. */
  private grantedBy: string | undefined
  private cancelTick: () => void = () => {}

  constructor(private readonly init: EvidenceExchangeInit) {
    this.scheduleTick()
  }

  close(): void {
    this.cancelTick()
  }

  gather(): void {
    const { identity, acknowledged } = this.init
    for (const { member, term, index } of acknowledged()) identity.evidence.committed(member, term, index)
  }

  /**
   * Records a member's introduction, which is durable when this resolves. If it rejects, the member must not be
   * accepted. The member tries again.
   */
  async record(introduction: RaftIntroduction): Promise<void> {
    await this.write(() => this.init.identity.met(introduction))
  }

  /** The member was accepted. */
  met(remote: string, admitted: boolean): void {
    if (admitted) this.newcomers.delete(remote)
    else this.newcomers.add(remote)
  }

  /** The member has accepted this peer. */
  acceptedBy(introduction: RaftIntroduction): void {
    this.init.identity.acceptedBy(introduction)
    this.takePart('all founding voters have agreed')
  }

  /** The member leads and has admitted an incarnation. */
  admittedBy(remote: string, incarnation: string): void {
    this.init.identity.admittedByLeader(incarnation)
    this.takePart(`${shortId(remote)} leads and has agreed`)
  }

  /** The member passes on its sightings. */
  heard(remote: string, peers: readonly RaftSighting[]): void {
    this.sightings.set(remote, peers)
    this.init.identity.learn(peers.filter(({ member }) => this.init.isMember(member)))
    this.save()
    if (peers.some(({ member, admitted }) => member === remote && admitted)) this.tookPart(remote)
  }

  isNewcomer(peerId: string): boolean {
    return this.newcomers.has(peerId)
  }

  /**
   * The member takes part. Its messages count once this is durable here; until then, another folder may replace its
   * folder.
   */
  tookPart(peerId: string): void {
    if (!this.newcomers.has(peerId) || this.joining.has(peerId)) return
    const { identity } = this.init
    identity.evidence.tookPart(peerId)
    this.joining.add(peerId)
    this.write(() => identity.save())
      .then(() => this.newcomers.delete(peerId))
      // `write` has logged the error. The member's next message tries again.
      .catch(() => {})
      .finally(() => this.joining.delete(peerId))
  }

  /** A new link to the member is open, so the member gets everything again. */
  opened(peerId: string): void {
    this.told.delete(peerId)
    this.tell(peerId)
  }

  /** The remote is no longer a member. */
  removed(peerId: string): void {
    this.told.delete(peerId)
    this.sightings.delete(peerId)
    this.newcomers.delete(peerId)
  }

  private scheduleTick(): void {
    this.cancelTick = this.init.clock.schedule(INTERVAL_MS, () => {
      this.scheduleTick()
      this.gather()
      this.save()
      if (this.grantedBy !== undefined) this.takePart(this.grantedBy)
      for (const peerId of this.init.links.keys()) {
        this.tell(peerId)
        this.admit(peerId)
      }
    })
  }

  /** Writes the evidence to disk. If that fails, the next tick tries again. */
  save(): void {
    // `write` has logged the error.
    this.write(() => this.init.identity.save()).catch(() => {})
  }

  /** Logs the first of several failures in a row, and the first success after them. */
  private async write(work: () => Promise<void>): Promise<void> {
    const { logger } = this.init
    try {
      await work()
    } catch (err) {
      if (!this.cannotWrite)
        logger?.error({ err }, 'evidence about other peers cannot be written: none is accepted anew')
      this.cannotWrite = true
      throw err
    }
    if (this.cannotWrite) logger?.info('evidence about other peers is written again')
    this.cannotWrite = false
  }

  /** Sends the remote this peer's sightings, unless it has them. */
  private tell(peerId: string): void {
    const { links, identity } = this.init
    const link = links.get(peerId)
    const news = identity.news()
    if (link === undefined || !link.isOpen) return void this.told.delete(peerId)
    if (this.told.get(peerId) === news) return
    this.told.set(peerId, news)
    link.tell({ type: 'raftSeen', peers: identity.sightings() })
  }

  /**
   * As the leader, admits a new folder when every other voter knows it as the member's folder, and a majority has
   * confirmed this leader after that (docs/identity.md, Admission). Repeats this until the folder takes part.
   */
  private admit(peerId: string): void {
    const { identity, confirmLeadership, links, logger } = this.init
    const link = links.get(peerId)
    const { incarnation } = link?.life ?? {}
    if (link === undefined || incarnation === undefined) return
    if (!this.newcomers.has(peerId) || this.admitting.has(peerId)) return
    if (!this.isKnownToAll(peerId, incarnation)) return
    const confirmed = confirmLeadership()
    if (confirmed === undefined) return
    this.admitting.add(peerId)
    confirmed
      .then(async () => {
        // The member may have another folder by now, of which the round says nothing.
        if (link.life?.incarnation !== incarnation) return
        identity.evidence.tookPart(peerId)
        await identity.save()
        link.tell({ type: 'raftAdmitted', incarnation })
      })
      .catch((err: unknown) => logger?.debug({ err, peer: peerId }, 'not admitted'))
      .finally(() => this.admitting.delete(peerId))
  }

  /**
   * True if every other voter knows the incarnation as the member's. Then no voter has counted a vote of the member's
   * former folder, because a voter that has counted one remembers that folder.
   */
  private isKnownToAll(peerId: string, incarnation: string): boolean {
    return [...this.init.links.keys()].every(
      (other) =>
        other === peerId ||
        this.sightings.get(other)?.some((each) => each.member === peerId && each.incarnation === incarnation)
    )
  }

  /** Takes part if this peer was admitted. If that cannot be written to disk, the next tick tries again. */
  private takePart(why: string): void {
    const { identity, logger } = this.init
    try {
      if (!identity.takePart()) return
    } catch (err) {
      if (this.grantedBy === undefined)
        logger?.error({ err }, 'this peer may take part, but cannot write that down yet')
      this.grantedBy = why
      return
    }
    this.grantedBy = undefined
    logger?.info({ why }, 'this peer takes part from now on')
    // At once, because the others drop this peer's messages until they know of its admission.
    this.told.clear()
    for (const peerId of this.init.links.keys()) this.tell(peerId)
  }
}
