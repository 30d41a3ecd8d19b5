import { crc32c } from '@node-rs/crc32'
import { InvalidArgumentError, MAX_ENTRY_BYTES, type RaftMessage } from '@quire/protocol'
import { createRaftCore } from './core/core.js'
import type {
  Entry,
  FollowerProgress,
  MembershipChange,
  Outgoing,
  RaftCore,
  Ready,
  Refusal,
  SnapshotMeta,
  StorageAck
} from './core/types.js'
import { BackPressureError, ChangePendingError, LogFullError, NotLeaderError } from './errors.js'
import { checkInteger, checkTick, completeInit, type CompleteInit } from './limits.js'
import type { RaftComponents, RaftLimits, RaftNode, RaftNodeInit, RaftStatus } from './node-types.js'
import { PendingReads } from './pending-reads.js'
import { PendingTransfers } from './pending-transfer.js'
import { SnapshotExchange } from './snapshot-exchange.js'

/**
 * Starts a node on an open log. It runs until `close`, or until it reports a fatal error to its application. Throws
 * InvalidArgumentError.
 */
export function createRaftNode(components: RaftComponents, init: RaftNodeInit): RaftNode {
  return new Driver(components, completeInit(init))
}

/** A write that storage has not acknowledged, with the messages that wait for it. */
interface PendingWrite {
  readonly ack: StorageAck
  messages: Outgoing[]
}

/** Performs the duties that `RaftCore` lists for its driver. */
class Driver implements RaftNode {
  private readonly core: RaftCore
  private readonly reads: PendingReads
  private readonly transfers: PendingTransfers
  private readonly snapshots: SnapshotExchange
  private readonly writes: PendingWrite[] = []
  private readonly limits: RaftLimits
  /** Work of the application or the log that `close` must wait for. */
  private readonly busy = new Set<Promise<void>>()
  private stopped = false
  private closing: Promise<void> | undefined
  private drainScheduled = false
  private wasReady = false
  private cancelTick: () => void = () => {}
  private tickMs: number
  /** A new tick length, and how many ticks of the current length come before it. */
  private nextTick: { readonly ms: number; ticksBefore: number } | undefined

  constructor(
    private readonly components: RaftComponents,
    private readonly init: CompleteInit
  ) {
    const { log, random, application } = components
    const { id, tickMs, electionTicks, heartbeatTicks, limits } = init
    this.limits = limits
    this.tickMs = tickMs
    this.reads = new PendingReads(limits.maxPendingReads)
    this.transfers = new PendingTransfers(2 * electionTicks)
    this.core = createRaftCore({
      id,
      log,
      hardState: log.hardState,
      configurations: log.configurations,
      snapshot: application.snapshots?.newest,
      appliedIndex: application.appliedIndex,
      electionTicks,
      heartbeatTicks,
      limits,
      random: () => random.next()
    })
    this.snapshots = new SnapshotExchange({
      core: this.core,
      store: application.snapshots,
      maxPieceBytes: limits.maxPieceBytes,
      whileBusy: (work, then) => this.whileBusy(work, then)
    })
    this.scheduleTick()
    this.scheduleDrain()
  }

  status(): RaftStatus {
    const { core } = this
    const { voters, learners, outgoing } = core.configuration
    const { id } = this.init
    // Outside the core, a node that asks for pre-votes is a candidate.
    const role = core.role === 'preCandidate' ? 'candidate' : core.role
    return {
      id,
      // A new member without a snapshot does not know the voters yet.
      role: role === 'follower' && ![...voters, ...outgoing].includes(id) ? 'learner' : role,
      term: core.term,
      leader: core.leader,
      ready: core.leaderReady && !this.stopped,
      firstIndex: core.firstIndex,
      lastIndex: core.lastIndex,
      durableIndex: core.durableIndex,
      commitIndex: core.commitIndex,
      appliedIndex: core.appliedIndex,
      voters,
      learners,
      outgoing,
      configurationIndex: core.configurationIndex,
      tickMs: this.tickMs,
      room: core.room,
      handsOver: core.transferTarget !== undefined || core.roomierVoter !== undefined
    }
  }

  followers(): ReadonlyMap<string, FollowerProgress> {
    return this.core.followers
  }

  term(index: number): number | undefined {
    return this.core.termOf(index)
  }

  propose(data: Uint8Array): { index: number; term: number } {
    if (this.stopped) throw this.notLeader()
    if (data.length > MAX_ENTRY_BYTES) {
      throw new InvalidArgumentError('data', `${data.length} bytes`, `at most ${MAX_ENTRY_BYTES} bytes`)
    }
    const proposed = this.core.propose([data])
    if ('refused' in proposed) throw this.refused(proposed)
    this.scheduleDrain()
    return proposed
  }

  changeMembership(changes: readonly MembershipChange[], context?: Uint8Array): { index: number; term: number } {
    if (this.stopped) throw this.notLeader()
    const proposed = this.core.changeMembership(changes, context)
    if ('refused' in proposed) {
      if (proposed.refused === 'pending') throw new ChangePendingError(proposed.index)
      if (proposed.refused === 'invalid') {
        throw new InvalidArgumentError('changes', JSON.stringify(changes), `a valid change: ${proposed.reason}`)
      }
      throw this.refused(proposed)
    }
    this.scheduleDrain()
    return proposed
  }

  get context(): Uint8Array {
    return this.core.configuration.context
  }

  setTickMs(tickMs: number): void {
    checkTick(tickMs)
    // The leader's next heartbeat tells the followers that the entry behind this change is committed. It must still
    // leave when the followers expect it.
    this.nextTick = { ms: tickMs, ticksBefore: this.init.heartbeatTicks + 1 }
  }

  private refused(refusal: Refusal): Error {
    if (refusal.refused === 'notLeader') return this.notLeader()
    if (refusal.refused === 'transferring')
      return new BackPressureError(`transfer of leadership to ${refusal.to}`, 1, 1)
    return new BackPressureError('proposed bytes', refusal.uncommittedBytes, this.limits.maxUncommittedBytes)
  }

  transferLeadership(to?: string): Promise<void> {
    const { core } = this
    if (this.stopped || core.role !== 'leader') return Promise.reject(this.notLeader())
    const target = to ?? core.mostAdvancedVoter
    if (target === undefined) return Promise.reject(new InvalidArgumentError('to', 'nobody', 'another voter'))
    if (core.transferLeadership(target) !== undefined) {
      return Promise.reject(new InvalidArgumentError('to', target, 'another voter'))
    }
    this.scheduleDrain()
    return this.transfers.add(target)
  }

  snapshotMeta(index: number): SnapshotMeta {
    const { oldestSnapshot, newestSnapshot } = this.core
    checkInteger('index', index, oldestSnapshot, newestSnapshot)
    return this.core.snapshotMeta(index)
  }

  snapshotTaken(snapshot: SnapshotMeta, retainedBytes = this.limits.retainedBytes): void {
    if (this.stopped) return
    this.guard(() => this.core.snapshotTaken(snapshot))
    // The core has rejected the snapshot: no entry may be dropped for it.
    if (this.stopped) return
    const { log, application } = this.components
    const index = Math.min(snapshot.index, application.snapshots?.heldIndex ?? Infinity)
    this.whileBusy(log.compact(index, retainedBytes))
  }

  readIndex(): Promise<number> {
    if (this.stopped || this.core.role !== 'leader') return Promise.reject(this.notLeader())
    return this.reads.add((context) => {
      this.core.readIndex(context)
      this.scheduleDrain()
    })
  }

  setRoom(hasRoom: boolean): void {
    this.core.setRoom(hasRoom)
  }

  receive(from: string, message: RaftMessage): void {
    // A piece that was damaged on its way or on the sender's disk counts as lost.
    if (message.type === 'snapshot' && crc32c(message.data) !== message.crc) return
    this.guard(() => this.core.step(from, message))
    this.scheduleDrain()
  }

  close(): Promise<void> {
    this.closing ??= this.shutDown()
    return this.closing
  }

  private async shutDown(): Promise<void> {
    this.stop()
    await Promise.all(this.busy)
    await this.components.log.close()
  }

  private stop(): void {
    this.stopped = true
    this.cancelTick()
    this.reads.rejectAll(() => this.notLeader())
    this.transfers.rejectAll(() => this.notLeader())
  }

  private fail(error: unknown): void {
    if (this.stopped) return
    this.stop()
    this.components.application.onFatal(error instanceof Error ? error : new Error(String(error)))
  }

  /** Runs `step`. An exception ends the node. */
  private guard(step: () => void): void {
    if (this.stopped) return
    try {
      step()
    } catch (error) {
      this.fail(error)
    }
  }

  private scheduleTick(): void {
    // One tick per call, however late. A process that was suspended must not take the pause for its leader's silence
    // before it has read the messages that arrived meanwhile.
    this.cancelTick = this.components.clock.schedule(this.tickMs, () => {
      if (this.nextTick !== undefined && --this.nextTick.ticksBefore === 0) {
        this.tickMs = this.nextTick.ms
        this.nextTick = undefined
      }
      this.scheduleTick()
      this.guard(() => this.core.tick())
      this.transfers.tick()
      this.scheduleDrain()
    })
  }

  /**
   * Turns all events of one turn into one Ready, at the end of the turn. A microtask takes no time and is
   * deterministic.
   */
  private scheduleDrain(): void {
    if (this.drainScheduled || this.stopped) return
    this.drainScheduled = true
    queueMicrotask(() => {
      this.drainScheduled = false
      this.drain()
    })
  }

  private drain(): void {
    this.guard(() => {
      for (let ready = this.core.ready(); ready !== undefined && !this.stopped; ready = this.core.ready())
        this.handle(ready)
    })
    const { leader, transferTarget } = this.core
    this.transfers.update({ id: this.init.id, leader, target: transferTarget })
  }

  private handle(ready: Ready): void {
    this.send(ready.messages)
    this.persist(ready)
    // A read of an earlier term as leader must not be confirmed in a later one.
    if (ready.softState !== undefined) this.reads.rejectAll(() => this.notLeader())
    for (const { context, index } of ready.readStates) this.reads.confirm(context, index)
    if (ready.committed.length > 0) this.apply(ready.committed)
    this.snapshots.handle(ready)
    this.afterApply(ready.softState !== undefined)
  }

  /** Settles reads that waited for the state machine, and reports changes to the application. */
  private afterApply(changed: boolean): void {
    const { core } = this
    this.reads.applied(core.appliedIndex)
    const becameReady = core.leaderReady && !this.wasReady
    this.wasReady = core.leaderReady
    if (changed || becameReady) this.components.application.onChange(this.status())
  }

  private send(messages: readonly Outgoing[]): void {
    for (const { to, message } of messages) this.components.transport.send(to, message)
  }

  /**
   * Persists the write, and then sends what must wait: a vote that leaves before it is durable can be cast twice
   * (Figure 2).
   */
  private persist({ write, messagesAfter }: Ready): void {
    if (write === undefined) {
      const last = this.writes.at(-1)
      if (last === undefined) this.send(messagesAfter)
      else last.messages.push(...messagesAfter)
      return
    }
    this.writes.push({ ack: write.ack, messages: [...messagesAfter] })
    this.components.log.append(write).then(
      () => this.guard(() => this.written()),
      (error: unknown) => {
        if (error instanceof LogFullError) this.guard(() => this.writtenInPart(error))
        else this.fail(error)
      }
    )
  }

  private written(): void {
    const { ack, messages } = this.writes.shift()!
    this.send(messages)
    this.core.persisted(ack)
    this.drain()
  }

  private writtenInPart({ stored, room }: LogFullError): void {
    // The waiting messages must not acknowledge entries that were given back. The leader will ask again.
    for (const write of this.writes) {
      write.messages = write.messages.filter(
        ({ message }) => message.type !== 'appendReply' || message.rejected || message.index <= stored
      )
    }
    const { ack, messages } = this.writes.shift()!
    this.send(messages)
    this.core.persistedInPart(ack, stored)
    this.drain()
    void room.then(() => {
      this.guard(() => this.core.roomAgain())
      this.scheduleDrain()
    })
  }

  private apply(entries: readonly Entry[]): void {
    const last = entries.at(-1)!.index
    const result = this.components.application.apply(entries)
    if (result === undefined) {
      this.core.applied(last)
      return
    }
    this.whileBusy(result, () => this.core.applied(last))
  }

  /** Calls `then` when `work` is done, and holds `close` back until then. A rejection ends the node. */
  private whileBusy<T>(work: Promise<T>, then?: (result: T) => void): void {
    const done = work
      .then((result) => {
        if (then === undefined) return
        this.guard(() => {
          then(result)
          this.afterApply(false)
        })
        this.drain()
      })
      .catch((error: unknown) => this.fail(error))
      .finally(() => this.busy.delete(done))
    this.busy.add(done)
  }

  private notLeader(): NotLeaderError {
    const leader = this.stopped ? undefined : this.core.leader
    return new NotLeaderError(this.init.id, leader === this.init.id ? undefined : leader)
  }
}
