/** Gathers evidence about other members, keeps it durable and passes it on; lets new folders take part (docs/identity.md). */
import type { Clock, RaftIntroduction, RaftSighting } from '@quire/protocol'
import { shortId } from '@quire/net'
import type { Logger } from 'pino'
import type { PeerIdentity } from './identity.js'
import type { Link } from './link.js'

/** The last entry that a peer has acknowledged and that is committed. */
export interface Acknowledged {
  readonly peerId: string
  readonly term: number
  readonly index: number
}

export interface EvidenceExchangeInit {
  readonly clock: Clock
  readonly identity: PeerIdentity
  /** To the other members. */
  readonly links: ReadonlyMap<string, Pick<Link, 'isOpen' | 'life' | 'tell'>>
  /** Of each follower, while this node leads. */
  readonly acknowledged: () => Iterable<Acknowledged>
  /** Resolves when a majority has confirmed that this node leads; undefined when it does not lead. */
  readonly confirmLeadership: () => Promise<unknown> | undefined
  readonly logger: Logger | undefined
}

/** How often evidence is gathered, saved and passed on. */
const INTERVAL_MS = 1_000

export class EvidenceExchange {
  /** What of the evidence was passed on, by peer. */
  private readonly told = new Map<string, number>()
  /** What each member said last of the others. */
  private readonly sightings = new Map<string, readonly RaftSighting[]>()
  /** Members whose new folder does not take part yet, or of which this peer does not durably remember that it does. */
  private readonly newcomers = new Set<string>()
  /** Those of them whose taking part is being written down. */
  private readonly joining = new Set<string>()
  /** Those of them whose admission waits for a quorum round. */
  private readonly admitting = new Set<string>()
  /** The last write failed, and that was logged. */
  private cannotWrite = false
  /** Why this peer may take part, while it cannot write that down. */
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
    for (const { peerId, term, index } of acknowledged()) identity.evidence.committed(peerId, term, index)
  }

  /**
   * Remembers what a member says of itself; durable when this resolves. Rejects when it cannot be written: then the member
   * must not be accepted, and comes again.
   */
  async record(introduction: RaftIntroduction): Promise<void> {
    await this.write(() => this.init.identity.met(introduction))
  }

  /** The member was accepted. */
  met(remote: string, admitted: boolean): void {
    if (admitted) this.newcomers.delete(remote)
    else this.newcomers.add(remote)
  }

  /** The member accepts this peer. */
  acceptedBy(introduction: RaftIntroduction): void {
    this.init.identity.acceptedBy(introduction)
    this.takePart('all founding voters have agreed')
  }

  /** The member leads and lets an incarnation take part. */
  admittedBy(remote: string, incarnation: string): void {
    this.init.identity.admittedByLeader(incarnation)
    this.takePart(`${shortId(remote)} leads and has agreed`)
  }

  /** The member passes on what it remembers. */
  heard(remote: string, peers: readonly RaftSighting[]): void {
    this.sightings.set(remote, peers)
    this.init.identity.learn(peers.filter(({ peerId }) => this.init.links.has(peerId)))
    this.save()
    if (peers.some(({ peerId, admitted }) => peerId === remote && admitted)) this.tookPart(remote)
  }

  isNewcomer(peerId: string): boolean {
    return this.newcomers.has(peerId)
  }

  /**
   * The member takes part. Its messages count from when that is durable here: until then, its folder may be replaced by
   * another one.
   */
  tookPart(peerId: string): void {
    if (!this.newcomers.has(peerId) || this.joining.has(peerId)) return
    const { identity } = this.init
    identity.evidence.tookPart(peerId)
    this.joining.add(peerId)
    this.write(() => identity.save())
      .then(() => this.newcomers.delete(peerId))
      // The next message tries again; `write` has logged it.
      .catch(() => {})
      .finally(() => this.joining.delete(peerId))
  }

  /** The link to the member is new: nothing was passed on through it. */
  opened(peerId: string): void {
    this.told.delete(peerId)
    this.tell(peerId)
  }

  /** The remote is no member any more. */
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

  /** Writes what is remembered. What cannot be written now is written with the next tick. */
  save(): void {
    // `write` has logged it.
    this.write(() => this.init.identity.save()).catch(() => {})
  }

  /** Logs the first failure in a row, and that it is over. */
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

  /** Passes on what this peer remembers, if that is news to the remote. */
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
   * A leader lets a new folder take part when every other voter knows it as the member's folder, and a majority has
   * confirmed the leader after that (docs/identity.md, Admission). It says so until it hears that the folder takes part.
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
        // The round must be about the folder that is there now.
        if (link.life?.incarnation !== incarnation) return
        identity.evidence.tookPart(peerId)
        await identity.save()
        link.tell({ type: 'raftAdmitted', incarnation })
      })
      .catch((err: unknown) => logger?.debug({ err, peer: peerId }, 'not admitted'))
      .finally(() => this.admitting.delete(peerId))
  }

  /** Then a vote of the member's former folder counts with nobody: a voter that counted one remembers that folder. */
  private isKnownToAll(peerId: string, incarnation: string): boolean {
    return [...this.init.links.keys()].every(
      (other) =>
        other === peerId ||
        this.sightings.get(other)?.some((each) => each.peerId === peerId && each.incarnation === incarnation)
    )
  }

  /** Takes part if that has been granted. A grant that cannot be written down is tried again with the next tick. */
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
    // At once: the others drop its messages until they know.
    this.told.clear()
    for (const peerId of this.init.links.keys()) this.tell(peerId)
  }
}
