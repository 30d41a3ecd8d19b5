import type { RandomSource } from '@quire/testing'
import type { Coverage } from '../coverage.js'
import type { OperatorView } from './operator-view.js'
import type { SimPeer } from './peers.js'
import { idOf } from './settlement.js'
import type { SimAdmin } from './sim-admin.js'

interface MovingPeersInit {
  readonly peers: readonly SimPeer[]
  readonly coverage: Coverage
  readonly admin: SimAdmin
  readonly view: OperatorView
  readonly leader: () => SimPeer | undefined
  /** Resolves when `done()`, or when the operator stops. */
  readonly until: (done: () => boolean) => Promise<void>
}

/** Time for the other peers to pass a moved peer's address on. */
const KNOWN_MS = 3000

/** Moves peers to other addresses. */
export class MovingPeers {
  constructor(private readonly init: MovingPeersInit) {}

  /**
   * Starts a peer at another address, which it tells the others; or two peers at once, which find each other through a
   * third one.
   */
  async begin(random: RandomSource): Promise<void> {
    const { peers, view } = this.init
    const seen = view.see()
    if (seen === undefined) return
    const members = seen.config.members.map((member) => view.peerOf(idOf(member)))
    if (!members.every((peer) => view.runsAsMember(peer, seen))) return
    // Keeps other operations from removing a member until the others know the new addresses.
    const known = peers.filter((peer) => members.includes(peer))
    for (const peer of known) view.taken.add(peer)
    try {
      await this.move(known, random)
    } finally {
      for (const peer of known) view.taken.delete(peer)
    }
  }

  private async move(known: readonly SimPeer[], random: RandomSource): Promise<void> {
    const { coverage, peers, admin, view, leader, until } = this.init
    const first = random.pick(known)
    const second = random.is(0.5) ? first : random.pick(known)
    const moved = known.filter((peer) => peer === first || peer === second)
    coverage.add(moved.length === 1 ? 'peers moved' : 'pairs of peers moved')
    for (const peer of moved) {
      peer.crash(random.is(0.5))
      peer.move()
    }
    for (const peer of moved) {
      await admin.sleep(random.exponential(300))
      if (peer.process === undefined && peer.isInstalled) peer.start()
    }
    // A peer that asks to join was given the former addresses.
    for (const peer of peers.filter((each) => each.isUp && !each.hasLog)) {
      peer.crash(false)
      peer.start()
    }
    const isFound = (peer: SimPeer): boolean =>
      peer === leader() || peer.member === undefined || !view.isMember(peer.member) || view.hasCaughtUp(peer.member)
    await until(() => view.see() !== undefined && moved.every(isFound))
    await admin.sleep(KNOWN_MS)
  }
}
