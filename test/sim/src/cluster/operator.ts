import type { AdminChange } from '@quire/protocol'
import type { RandomSource } from '@quire/testing'
import type { Coverage } from '../coverage.js'
import type { Scheduler } from '../scheduler.js'
import { Violation } from '../violation.js'
import { AccessOperator } from './access-operator.js'
import { FormerFolders } from './former-folders.js'
import { ADMIN_IDS, addressOf, peerIdIn } from './ids.js'
import { LostFolders } from './lost-folders.js'
import { MembershipInvariants } from './membership-invariants.js'
import { MAX_VOTERS, Settlement, idOf, isReplacing, memberOf } from './settlement.js'
import { MovingPeers } from './moving-peers.js'
import { OperatorView } from './operator-view.js'
import type { SimPeer } from './peers.js'
import type { PeerRaftInvariants } from './raft-invariants.js'
import type { Outcome, SimAdmin } from './sim-admin.js'

/** What an operator does, and how common it is: only the mix `membership` has these. */
export const MEMBERSHIP_KINDS = {
  addPeer: 0,
  promotePeer: 0,
  removePeer: 0,
  wipePeer: 0,
  replacePeer: 0,
  movePeers: 0,
  moveLeader: 0,
  changeRoundTrip: 0,
  removeBesideDown: 0,
  slowLearner: 0,
  nonsense: 0,
  formerFolder: 0,
  twinFolder: 0,
  denyClient: 0,
  changeAdmins: 0
} as const
export type MembershipKind = keyof typeof MEMBERSHIP_KINDS

interface OperatorInit {
  readonly scheduler: Scheduler
  readonly coverage: Coverage
  readonly peers: readonly SimPeer[]
  readonly raft: PeerRaftInvariants
  readonly leader: () => SimPeer | undefined
  /** An admin of the cluster, and somebody who is none. */
  readonly admin: SimAdmin
  readonly stranger: SimAdmin
  /** An identity that is an admin for a while. */
  readonly helper: SimAdmin
  readonly clients: readonly { readonly id: string }[]
  /** The time to live of sessions. */
  readonly ttlMs: number
  readonly twinOf: (peerId: string) => SimPeer
  /** Runs a copy of a peer's folder beside the peer. */
  readonly startTwin: (peer: SimPeer, random: RandomSource) => void
  /** The round trip that the cluster was founded with. */
  readonly roundTripMs: number
  readonly onError: (error: Error) => void
}

const MIN_VOTERS = 3
const LOOK_MS = 100
/** A leader lets a learner lag far less than so many round trips. */
const SLOW_LOG_ROUND_TRIPS = 50
/** Longer than a leader takes to notice that a peer is away. */
const AWAY_MS = 4000
/** Refusals with good reasons: others change the cluster, too, and peers are away. */
const FAIR = new Set(['ChangeRefusedError', 'InvalidArgumentError'])

/**
 * Operates the cluster as docs/operations.md says: adds, promotes, removes and replaces peers, and moves leadership.
 *
 * It never loses more folders than Raft can tolerate.
 */
export class Operator {
  readonly folders: LostFolders
  readonly invariants: MembershipInvariants
  private readonly view: OperatorView
  private readonly formerFolders: FormerFolders
  private readonly access: AccessOperator
  private readonly moves: MovingPeers
  private readonly settlement: Settlement
  private isStopped = false
  /** The operations under way. */
  private running = 0

  constructor(private readonly init: OperatorInit) {
    this.folders = new LostFolders(init)
    this.view = new OperatorView(init)
    this.invariants = new MembershipInvariants({ ...init, folders: this.folders })
    this.formerFolders = new FormerFolders({ ...init, folders: this.folders, onViolation: init.onError })
    this.access = new AccessOperator({
      ...init,
      change: (change) => this.change(change),
      sleep: (ms) => init.admin.sleep(ms),
      isStopped: () => this.isStopped
    })
    this.moves = new MovingPeers({ ...init, view: this.view, until: (done) => this.until(done) })
    this.settlement = new Settlement({ ...init, folders: this.folders, access: this.access })
  }

  /** Begins no work from now on. Work that is under way ends soon. */
  stop(): void {
    this.isStopped = true
    this.formerFolders.stop()
  }

  begin(kind: MembershipKind, random: RandomSource): void {
    const operations = {
      addPeer: () => this.addPeer(random),
      promotePeer: () => this.promotePeer(random),
      removePeer: () => this.removePeer(random),
      wipePeer: () => this.wipePeer(random),
      replacePeer: () => this.replacePeer(random),
      movePeers: () => this.moves.begin(random),
      moveLeader: () => this.moveLeader(random),
      changeRoundTrip: () => this.changeRoundTrip(random),
      removeBesideDown: () => this.removeBesideDown(random),
      slowLearner: () => this.slowLearner(random),
      nonsense: () => this.tryNonsense(random),
      formerFolder: () => this.formerFolders.begin(random),
      twinFolder: () => this.copyMember(random),
      denyClient: () => this.access.denyClient(random),
      changeAdmins: () => this.access.changeAdmins()
    }
    this.running++
    Promise.resolve(operations[kind]())
      .catch((error: unknown) => this.init.onError(error as Error))
      .finally(() => this.running--)
  }

  // ---- operations

  private async addPeer(random: RandomSource): Promise<void> {
    const peer = this.view.takeSpare(random)
    if (peer === undefined) return
    // Either may come first, because the peer waits for its invitation.
    const isEarly = random.is(0.5)
    if (isEarly) peer.install()
    const outcome = await this.change({ type: 'addMember', member: memberOf(peer) })
    if (outcome.type === 'done' && !isEarly && !this.isStopped) peer.install()
    if (outcome.type !== 'done' && isEarly) peer.uninstall(false)
    this.view.taken.delete(peer)
  }

  private async promotePeer(random: RandomSource): Promise<void> {
    const seen = this.view.see()
    const learners = seen?.learners.filter((id) => !isReplacing(seen.config, id)) ?? []
    if (seen === undefined || learners.length === 0 || seen.voters.length >= MAX_VOTERS) return
    const id = random.pick(learners)
    if (random.is(0.6)) await this.until(() => this.view.hasCaughtUp(id))
    // The folder of a learner that is down may be lost.
    if (this.folders.isSafeWithout([...seen.voters, id])) await this.change({ type: 'promoteMember', id })
  }

  /**
   * The log of a learner is slow for a while, so that the learner answers and falls behind: of one that an admin
   * promotes, or of one that replaces its own lost folder.
   */
  private async slowLearner(random: RandomSource): Promise<void> {
    const wiped = random.is(0.3) ? this.wiped(random) : undefined
    const peer = wiped ?? (await this.anyLearner(random))
    if (peer === undefined) return
    const { scheduler, coverage, roundTripMs } = this.init
    const slowMs = SLOW_LOG_ROUND_TRIPS * (this.view.see()?.config.roundTripMs ?? roundTripMs)
    peer.slowLogMs = peer.core === undefined ? 0 : slowMs
    peer.nextSlowLogMs = slowMs
    if (peer.process === undefined) peer.start()
    const startMs = scheduler.now
    await this.until(() => scheduler.now > startMs + 1.3 * slowMs)
    const id = peer.member
    if (id !== undefined && this.view.see()?.learners.includes(id) === true) {
      const outcome = await this.change({ type: 'promoteMember', id })
      if (outcome.type === 'refused') coverage.add('promotions of learners that lag refused')
    }
    await this.until(() => scheduler.now > startMs + 4 * slowMs)
    peer.slowLogMs = 0
    peer.nextSlowLogMs = 0
  }

  /** A learner that runs, if need be a new one. */
  private async anyLearner(random: RandomSource): Promise<SimPeer | undefined> {
    const find = (): SimPeer | undefined => {
      const seen = this.view.see()
      const learners = seen?.learners.map((id) => this.view.peerOf(id)) ?? []
      return learners.find((peer) => this.view.runsAsMember(peer, seen))
    }
    if (find() === undefined) await this.addPeer(random)
    await this.until(() => find() !== undefined)
    return find()
  }

  private async removePeer(random: RandomSource): Promise<void> {
    const seen = this.view.see()
    if (seen === undefined) return
    const { voters, learners } = seen
    const mayGo = voters.filter((id) => voters.length > MIN_VOTERS && this.folders.isSafeWithout(voters, id))
    const candidates = [...mayGo, ...learners].filter((id) => !this.view.isTaken(id))
    if (candidates.length === 0) return
    const id = random.pick(candidates)
    const peer = this.view.peerOf(id)
    if (peer !== undefined) this.view.taken.add(peer)
    const outcome = await this.change({ type: 'removeMember', id })
    if (outcome.type === 'done') await this.turnOff(id, random)
    if (peer !== undefined) this.view.taken.delete(peer)
  }

  /** Loses the folder of a member, which comes back under its key with `--rejoin`. */
  private async wipePeer(random: RandomSource): Promise<void> {
    const peer = this.wiped(random)
    if (peer === undefined) return
    await this.init.admin.sleep(random.exponential(500))
    if (peer.process === undefined && peer.isInstalled) peer.start()
  }

  private wiped(random: RandomSource): SimPeer | undefined {
    const { coverage, peers } = this.init
    const seen = this.view.see()
    const candidates = peers.filter((peer) => this.view.runsAsMember(peer, seen) && this.folders.mayLose(peer.member!))
    if (candidates.length === 0) return undefined
    const peer = random.pick(candidates)
    const member = peer.member!
    coverage.add('folders wiped')
    peer.crash(random.is(0.5))
    this.folders.lose(member, peer.id, peer.wipe())
    return peer
  }

  /** Replaces a voter by a peer with another key: its machine is gone for good, or is to be given up. */
  private async replacePeer(random: RandomSource): Promise<void> {
    const seen = this.view.see()
    const candidates = seen?.voters.filter((id) => this.view.runsAsMember(this.view.peerOf(id), seen)) ?? []
    if (candidates.length === 0) return
    const old = random.pick(candidates)
    const isGone = random.is(0.6)
    if (isGone && !this.folders.mayLose(old)) return
    const peer = this.view.takeSpare(random)
    if (peer === undefined) return
    const former = this.view.peerOf(old)!
    this.view.taken.add(former)
    if (isGone) {
      this.init.coverage.add('machines lost for good')
      this.folders.lose(old, former.id, former.uninstall(true))
    }
    const isEarly = random.is(0.3)
    if (isEarly) peer.install()
    const outcome = await this.change({ type: 'replaceMember', id: old, by: memberOf(peer) })
    if (!isEarly && outcome.type === 'done' && !this.isStopped) peer.install()
    const isOver = (): boolean => this.view.see()?.config.members.every((member) => idOf(member) !== old) === true
    await this.until(isOver)
    if (!isGone && isOver()) await this.turnOff(old, random)
    this.view.taken.delete(former)
    this.view.taken.delete(peer)
  }

  private async moveLeader(random: RandomSource): Promise<void> {
    const voters = this.view.see()?.voters ?? []
    const id = voters.length === 0 || random.is(0.3) ? '' : random.pick(voters)
    await this.change({ type: 'transferLeadership', id })
  }

  private async changeRoundTrip(random: RandomSource): Promise<void> {
    await this.change({ type: 'setRoundTrip', roundTripMs: this.init.roundTripMs * random.pick([1, 2, 3]) })
  }

  /** Asks for the removal of a voter while so many are away that the others would be no majority. */
  private async removeBesideDown(random: RandomSource): Promise<void> {
    const { scheduler, coverage } = this.init
    const seen = this.view.see()
    const voters = seen?.voters.filter((id) => this.view.runsAsMember(this.view.peerOf(id), seen)) ?? []
    // Of an even number, too many would have to be away.
    if (voters.length !== seen?.voters.length || voters.length % 2 === 0) return
    const id = random.pick(voters)
    const others = voters.filter((voter) => voter !== id)
    const from = random.int(0, others.length - 1)
    const inTurn = [...others.slice(from), ...others.slice(0, from)]
    const away = inTurn.slice(0, (voters.length - 1) / 2).map((voter) => this.view.peerOf(voter)!)
    for (const peer of away) {
      this.view.taken.add(peer)
      peer.crash(random.is(0.5))
      peer.isInstalled = false
    }
    const startMs = scheduler.now
    await this.until(() => scheduler.now > startMs + AWAY_MS)
    const outcome = await this.change({ type: 'removeMember', id })
    if (outcome.type === 'refused') coverage.add('removals that would leave no majority refused')
    for (const peer of away) {
      peer.isInstalled = true
      peer.start()
      this.view.taken.delete(peer)
    }
    if (outcome.type === 'done') await this.turnOff(id, random)
  }

  private copyMember(random: RandomSource): void {
    const seen = this.view.see()
    const members = this.init.peers.filter((peer) => this.view.runsAsMember(peer, seen))
    if (members.length > 0) this.init.startTwin(random.pick(members), random)
  }

  /** Asks for what no leader may do. */
  private async tryNonsense(random: RandomSource): Promise<void> {
    const { admin, stranger, coverage } = this.init
    const seen = this.view.see()
    if (seen === undefined) return
    const member = random.pick(seen.voters)
    const [first] = ADMIN_IDS
    const wrong: AdminChange = random.pick([
      ...(this.access.hasOneAdmin ? [{ type: 'removeAdmin', id: first } as const] : []),
      { type: 'denyClient', id: first },
      { type: 'addMember', member: { peerId: first, addresses: [addressOf(first)] } },
      { type: 'promoteMember', id: ADMIN_IDS[2] },
      { type: 'addAdmin', id: peerIdIn(member) },
      { type: 'replaceMember', id: ADMIN_IDS[2], by: { peerId: first, addresses: [addressOf(first)] } },
      { type: 'setRoundTrip', roundTripMs: 0 }
    ])
    const isStranger = random.is(0.3)
    const change: AdminChange = isStranger ? { type: 'promoteMember', id: member } : wrong
    // The removal of an admin is refused while there is no other.
    const outcome = await this.access.withOneAdmin(() =>
      this.folders.during((isStranger ? stranger : admin).change(change, () => !this.isStopped))
    )
    if (outcome.type === 'unknown') return
    const members = this.view.see()?.config.members ?? []
    if (outcome.type === 'done' && change.type === 'addAdmin' && !members.some(({ peerId }) => peerId === change.id)) {
      // The member was removed before the leader took the change.
      await this.change({ type: 'removeAdmin', id: change.id })
      return
    }
    const isRefused =
      outcome.type === 'refused' && (FAIR.has(outcome.error.name) || outcome.error.name === 'NotAuthorizedError')
    if (!isRefused) throw new Violation('nonsense is refused', JSON.stringify([change, outcome]))
    coverage.add('nonsense refused')
  }

  // ---- the end

  /**
   * Brings every operation to its end: members run and vote, and nobody else runs. Resolves when there is nothing left
   * to do.
   */
  async settle(): Promise<void> {
    for (;;) {
      const seen = this.running > 0 ? undefined : this.view.see()
      const step = seen === undefined ? 'wait' : this.settlement.nextStep(seen)
      if (step === undefined) return
      if (step !== 'wait') await this.ask(step, () => true)
      await this.init.admin.sleep(LOOK_MS)
    }
  }

  describe(): string {
    return this.view.describe()
  }

  // ---- parts

  private change(change: AdminChange): Promise<Outcome> {
    return this.ask(change, () => !this.isStopped)
  }

  private async ask(change: AdminChange, isWanted: () => boolean): Promise<Outcome> {
    const { admin, coverage } = this.init
    const since = this.invariants.mark()
    const outcome = await this.folders.during(admin.change(change, isWanted))
    coverage.add(`${change.type}: ${outcome.type}`)
    if (outcome.type === 'done') this.invariants.answered(change, outcome.index, since)
    if (outcome.type === 'refused' && !FAIR.has(outcome.error.name)) {
      throw new Violation('commands that make sense are taken', `${change.type}: ${outcome.error.message}`)
    }
    return outcome
  }

  /** A removed peer goes on for a while, or not, and leaves its folder behind. */
  private async turnOff(member: string, random: RandomSource): Promise<void> {
    const peer = this.view.peerOf(member)
    if (random.is(0.5)) await this.init.admin.sleep(random.exponential(1500))
    // It may have joined anew.
    if (peer?.member === member && peer.isInstalled) this.folders.leave(peer.id, peer.uninstall(false))
  }

  private async until(done: () => boolean): Promise<void> {
    while (!this.isStopped && !done()) await this.init.admin.sleep(LOOK_MS)
  }
}
