import type { RaftSighting } from '@quire/protocol'
import { decodeMemory } from '@quire/store/internal'
import type { RandomSource } from '@quire/testing'
import type { Coverage } from '../coverage.js'
import type { Scheduler } from '../scheduler.js'
import { Violation } from '../violation.js'
import type { EvidenceInvariants } from './evidence-invariants.js'
import { memberIdOf } from './ids.js'
import { incarnationOf, type Folder } from './folder.js'
import type { SimPeer } from './peers.js'

interface OldFoldersInit {
  readonly scheduler: Scheduler
  readonly coverage: Coverage
  readonly peers: readonly SimPeer[]
  readonly evidence: EvidenceInvariants
  readonly leader: () => SimPeer | undefined
  /** Makes a peer with the same key on another machine. */
  readonly twinOf: (peerId: string) => SimPeer
  readonly onViolation: (error: Violation) => void
}

interface Plan {
  readonly runMs: number
  readonly isBeside: boolean
  readonly random: RandomSource
}

/** After the newest folder is put back, the operator looks so often, at this interval, whether it is refused. */
const LOOKS = 10
const LOOK_MS = 1000

/**
 * Plays operators who put back an older copy of a data directory, or start on an empty one under the old key.
 *
 * If the other peers durably remember what the peer had, none of them may let it take part (docs/identity.md).
 * EvidenceInvariants checks that they remember what they must.
 */
export class OldFolders {
  private stopped = false
  /** Copies that run beside their peers. */
  private readonly twins = new Set<SimPeer>()

  constructor(private readonly init: OldFoldersInit) {}

  /**
   * Copies the folder while the peer is down. Later it starts the peer on the copy, and after that on the newest folder
   * again. Or it starts the copy on another machine, beside the peer.
   */
  begin(peer: SimPeer, random: RandomSource, isBeside = false): void {
    if (peer.process === undefined || peer.member === undefined || peer.isOnOldFolder) return
    const { scheduler } = this.init
    peer.crash(random.is(0.5))
    // Only a founding voter makes a folder without asking others.
    const isEmpty = random.is(0.3) && peer.member === peer.id
    const copy = isEmpty ? peer.emptyFolder() : peer.copyFolder()
    scheduler.after(random.exponential(300), 'restart', () => {
      if (peer.process === undefined && peer.isInstalled) peer.start()
    })
    // Soon, so that the log has hardly moved, and only the boot tells.
    const waitMs = random.is(0.25) ? random.between(200, 800) : random.between(1500, 4000)
    if (random.is(0.5)) this.makeLeader(peer, random.between(300, 1000))
    const runMs = random.between(1000, 2500)
    scheduler.after(waitMs, 'an older folder is put back', () => this.putBack(peer, copy, { runMs, isBeside, random }))
  }

  /** Puts every peer back on its newest folder. */
  stop(): void {
    this.stopped = true
    for (const peer of this.init.peers) this.takeAway(peer)
    for (const twin of this.twins) this.endTwin(twin)
  }

  /** Makes the peer lead. Nobody hears a leader acknowledge anything. */
  private makeLeader(peer: SimPeer, ms: number): void {
    const { scheduler, leader } = this.init
    scheduler.after(ms, 'the peer of an older folder is to lead', () => {
      leader()
        ?.core?.root.node?.transferLeadership(peer.member)
        .catch(() => {})
    })
  }

  private putBack(peer: SimPeer, copy: Folder, { runMs, isBeside, random }: Plan): void {
    const { scheduler, coverage } = this.init
    if (this.stopped || peer.process === undefined || peer.isOnOldFolder) return
    // Its machine may have another folder by now.
    if (peer.member !== memberIdOf(peer.id, incarnationOf(copy))) return
    this.init.evidence.check()
    const others = this.others(peer)
    // A peer on an older folder will lose what it learns now, so it cannot vouch for what this one had.
    if (others.some(({ isOnOldFolder }) => isOnOldFolder)) return
    const member = memberIdOf(peer.id, incarnationOf(copy))
    const areAhead = others.every((other) => remembersMore(other.remembered(member), copy))
    if (!areAhead && !others.every((other) => remembersBoot(other.remembered(member), copy))) return
    if (isBeside) return this.runBeside(peer, copy, runMs)
    if (!areAhead) coverage.add('older folders that only the boot tells')
    if (peer.core?.root.node?.status().role === 'leader') coverage.add('older folders of leaders')
    peer.crash(false)
    peer.startOn(copy, areAhead)
    coverage.add('older folders put back')
    // A second start raises the boot above that of the newest folder. Then only the log's end and the incarnation tell.
    if (areAhead && random.is(0.7)) {
      scheduler.after(random.between(50, 300), 'the older folder is started again', () => {
        if (peer.isOnOldFolder && peer.process !== undefined) peer.crash(false)
        if (peer.isOnOldFolder) peer.start()
      })
    }
    scheduler.after(runMs, 'the newest folder is put back', () => this.takeAway(peer))
  }

  private runBeside(peer: SimPeer, copy: Folder, runMs: number): void {
    const { scheduler, coverage, twinOf } = this.init
    const twin = twinOf(peer.id)
    this.twins.add(twin)
    twin.startAsTwin(copy)
    coverage.add('twins started')
    scheduler.after(runMs, 'the twin of a peer ends', () => this.endTwin(twin))
  }

  private endTwin(twin: SimPeer): void {
    if (!this.twins.delete(twin)) return
    this.check(twin)
    twin.crash(false)
  }

  private takeAway(peer: SimPeer): void {
    if (!peer.isOnOldFolder) return
    this.check(peer)
    if (peer.process !== undefined) peer.crash(false)
    peer.startOnNewest()
    this.watch(peer)
  }

  /**
   * A peer that has joined meanwhile may know the boots of the copy alone, and refuse the newest folder when it comes
   * to the same boots. The operator follows the error's advice: each start raises the boot.
   */
  private watch(peer: SimPeer, looks = LOOKS): void {
    const { scheduler, coverage } = this.init
    scheduler.after(LOOK_MS, 'the operator looks after the newest folder', () => {
      if (peer.process === undefined || peer.isOnOldFolder) return
      if (this.refusing(peer).length > 0) {
        coverage.add('newest folders started again')
        peer.crash(false)
        peer.start()
        this.watch(peer)
      } else if (looks > 1) this.watch(peer, looks - 1)
    })
  }

  private check(peer: SimPeer): void {
    if (peer.core === undefined) return
    const change = peer.tookPart()
    if (change !== undefined) {
      this.init.onViolation(new Violation('a folder that went backward takes no part', change))
    }
    if (this.refusing(peer).length > 0)
      this.init.coverage.add(peer.isOnOldFolder ? 'older folders refused' : 'twins refused')
  }

  private refusing(peer: SimPeer): SimPeer[] {
    return this.others(peer).filter(({ core }) => core?.status().quarantined.some(({ peerId }) => peerId === peer.id))
  }

  private others(peer: SimPeer): SimPeer[] {
    return this.init.peers.filter(({ id, isInstalled }) => id !== peer.id && isInstalled)
  }
}

/** The copy would start with a boot that the peer has seen under another process. */
function remembersBoot(sighting: RaftSighting | undefined, { identity }: Folder): boolean {
  return sighting?.incarnation === identity.incarnation && sighting.boot > decodeMemory(identity.remembered).boot
}

/** The peer remembers an acknowledgment that the copy lacks, or another incarnation that takes part. */
export function remembersMore(sighting: RaftSighting | undefined, { identity, last }: Folder): boolean {
  if (sighting === undefined) return false
  // A folder that never took part may be made anew.
  if (sighting.incarnation !== identity.incarnation) return sighting.admitted
  return sighting.lastTerm > last.term || (sighting.lastTerm === last.term && sighting.lastIndex > last.index)
}
