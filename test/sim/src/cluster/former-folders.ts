import type { RandomSource } from '@quire/testing'
import type { Coverage } from '../coverage.js'
import type { Scheduler } from '../scheduler.js'
import { Violation } from '../violation.js'
import { incarnationOf } from './folder.js'
import { memberIdOf } from './ids.js'
import type { LostFolders } from './lost-folders.js'
import type { SimPeer } from './peers.js'

interface FormerFoldersInit {
  readonly scheduler: Scheduler
  readonly coverage: Coverage
  readonly peers: readonly SimPeer[]
  readonly folders: LostFolders
  /** Makes a peer with the same key on another machine. */
  readonly twinOf: (peerId: string) => SimPeer
  readonly onViolation: (error: Violation) => void
}

/**
 * Starts folders that members have left behind: of peers that were removed or replaced, and of peers that have joined
 * again with another folder.
 *
 * They are members no longer, so nobody links with them, and they disturb nobody (docs/membership.md, Replacing).
 */
export class FormerFolders {
  private stopped = false
  /** The lives of the members that were there when a former folder started; undefined if some knew it. */
  private readonly running = new Map<SimPeer, ReadonlyMap<SimPeer, number> | undefined>()

  constructor(private readonly init: FormerFoldersInit) {}

  begin(random: RandomSource): void {
    const { folders, scheduler, coverage, twinOf } = this.init
    const removed = folders.former.filter(
      ({ peerId, folder }) => !this.isMember(memberIdOf(peerId, incarnationOf(folder)))
    )
    if (this.stopped || removed.length === 0) return
    const { peerId, folder } = random.pick(removed)
    const former = twinOf(peerId)
    this.running.set(former, this.unknowing(memberIdOf(peerId, incarnationOf(folder))))
    former.startAsTwin(folder)
    coverage.add('former folders started')
    scheduler.after(random.between(300, 1500), 'a former folder ends', () => this.end(former))
  }

  stop(): void {
    this.stopped = true
    for (const former of this.running.keys()) this.end(former)
  }

  private end(former: SimPeer): void {
    const { coverage, onViolation } = this.init
    if (!this.running.has(former)) return
    const members = this.running.get(former)
    this.running.delete(former)
    // A peer that has started since then may have begun with an older configuration.
    const isUnknown = members !== undefined && [...members].every(([peer, life]) => peer.life === life)
    if (isUnknown && former.core !== undefined) {
      coverage.add('former folders that had to take no part')
      const change = former.tookPart()
      if (change !== undefined) onViolation(new Violation('a former member takes no part', change))
    }
    former.crash(false)
  }

  /**
   * The lives of all members, if they run and link with it no longer. A peer that has not may link with the former
   * member, and Raft then treats that like any removed node.
   */
  private unknowing(member: string): ReadonlyMap<SimPeer, number> | undefined {
    const members = this.init.peers.filter(({ isInstalled }) => isInstalled)
    const areUnknowing = members.every(({ core, isOnOldFolder }) => {
      const { voters, learners, outgoing } = core?.root.node?.status() ?? NOBODY
      const isListed =
        [...voters, ...learners, ...outgoing].includes(member) || core?.linkedMembers.has(member) === true
      return core !== undefined && !isOnOldFolder && !isListed
    })
    return areUnknowing ? new Map(members.map((peer) => [peer, peer.life])) : undefined
  }

  /** The newest configuration lists the member. */
  private isMember(member: string): boolean {
    const cores = this.init.peers.flatMap(({ core }) => (core === undefined ? [] : [core]))
    const revision = Math.max(...cores.map(({ config }) => config.revision))
    return cores.some((core) => core.config.revision === revision && lists(core, member))
  }
}

const NOBODY = { voters: [], learners: [], outgoing: [] }

function lists(core: SimPeer['core'], member: string): boolean {
  return core?.config.members.some(({ peerId, incarnation }) => memberIdOf(peerId, incarnation) === member) === true
}
