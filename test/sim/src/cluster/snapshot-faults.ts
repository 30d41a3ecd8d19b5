import type { RandomSource } from '@quire/testing'
import type { Coverage } from '../coverage.js'
import type { Scheduler } from '../scheduler.js'
import type { SimPeer } from './peers.js'

type SnapshotFault = 'crashReceiver' | 'crashSender' | 'fillReceiver'

interface SnapshotFaultsInit {
  readonly scheduler: Scheduler
  readonly coverage: Coverage
  readonly peers: readonly SimPeer[]
  readonly restart: (peer: SimPeer, ms: number) => void
  readonly leader: () => SimPeer | undefined
}

/** A transfer takes about this long. */
const TRANSFER_MS = 40

/** Injects faults that meet a snapshot on its way. Each one waits for the next peer that receives a snapshot. */
export class SnapshotFaults {
  private stopped = false
  private readonly waiting: { readonly fault: SnapshotFault; readonly random: RandomSource }[] = []

  constructor(private readonly init: SnapshotFaultsInit) {}

  /** If all peers run, the given one is away for a while, so that it needs a snapshot. */
  begin(fault: SnapshotFault, peer: SimPeer, random: RandomSource): void {
    this.waiting.push({ fault, random })
    const installed = this.init.peers.filter(({ isInstalled }) => isInstalled)
    if (installed.some(({ process, isOnOldFolder }) => process === undefined || isOnOldFolder)) return
    const awayMs = random.between(200, 1000)
    // A process that sleeps keeps the changes that are not in a checkpoint.
    if (random.is(0.4)) return peer.process?.stall(awayMs)
    peer.crash(random.is(0.5))
    this.init.restart(peer, awayMs)
  }

  /** The first piece of a snapshot has arrived at the peer. */
  receiving(peer: SimPeer): void {
    const next = this.stopped || peer.isOnOldFolder ? undefined : this.waiting.shift()
    if (next === undefined) return
    const { fault, random } = next
    this.init.coverage.add(`met a snapshot: ${fault}`)
    if (fault === 'crashReceiver') this.crashReceiver(peer, random)
    else if (fault === 'crashSender') this.crashSender(random)
    else this.fill(peer, random)
  }

  /** Ends every fault, and injects no new one. */
  stop(): void {
    this.stopped = true
    for (const peer of this.init.peers) peer.setFull(false)
  }

  private crashReceiver(peer: SimPeer, random: RandomSource): void {
    const crash = (): void => this.crash(peer, random)
    const moment = random.next()
    if (moment < 0.3) this.later(random, `${peer.name} crashes`, crash)
    else if (moment < 0.6) peer.moments.inAdoption(crash)
    else peer.moments.afterAdoption(crash)
  }

  private crash(peer: SimPeer, random: RandomSource): void {
    if (this.stopped || peer.process === undefined) return
    peer.crash(random.is(0.5))
    const isCrashedAgain = random.is(0.6)
    this.init.scheduler.after(random.exponential(200), 'restart', () => {
      if (peer.process !== undefined || !peer.isInstalled) return
      peer.start()
      // In the completion of the installation, if there is one.
      if (isCrashedAgain) peer.moments.inWrite(() => this.crash(peer, random))
    })
  }

  /** Another leader takes over in the middle of a transfer. */
  private crashSender(random: RandomSource): void {
    this.later(random, 'the sender of a snapshot leaves', () => {
      const leader = this.init.leader()
      if (leader === undefined) return
      if (random.is(0.5)) return void leader.core?.root.node?.transferLeadership().catch(() => {})
      leader.crash(random.is(0.5))
      this.init.restart(leader, random.exponential(300))
    })
  }

  private fill(peer: SimPeer, random: RandomSource): void {
    this.later(random, `the disk of ${peer.name} is full`, () => {
      peer.setFull(true)
      this.init.scheduler.after(random.exponential(500), `the disk of ${peer.name} has room`, () => peer.setFull(false))
    })
  }

  private later(random: RandomSource, label: string, run: () => void): void {
    this.init.scheduler.after(random.exponential(TRANSFER_MS), label, () => {
      if (!this.stopped) run()
    })
  }
}
