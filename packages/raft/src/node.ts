import { InvalidArgumentError, MAX_APPEND_BYTES, MAX_ENTRY_BYTES, type RaftMessage } from '@quire/protocol'
import { createRaftCore } from './core/core.js'
import type { Entry, Outgoing, RaftCore, Ready, StorageAck } from './core/types.js'
import { BackPressureError, NotLeaderError } from './errors.js'
import type { RaftComponents, RaftLimits, RaftNode, RaftNodeInit, RaftStatus } from './node-types.js'
import { PendingReads } from './pending-reads.js'

export const DEFAULT_RAFT_LIMITS: RaftLimits = {
  maxAppendBytes: MAX_APPEND_BYTES,
  maxInflightMessages: 64,
  maxInflightBytes: 4 * 1024 * 1024,
  maxUncommittedBytes: 16 * 1024 * 1024,
  maxApplyBytes: 1024 * 1024,
  maxPendingReads: 10_000
}

/** Starts a node on an open log. It runs until `close`, or until its application is told of a fatal error. */
export function createRaftNode(components: RaftComponents, init: RaftNodeInit): RaftNode {
  const { id, tickMs = 20, electionTicks = 16, heartbeatTicks = 4 } = init
  const limits = { ...DEFAULT_RAFT_LIMITS, ...init.limits }
  if (!(tickMs > 0)) throw new InvalidArgumentError('tickMs', tickMs, 'positive')
  if (!Number.isSafeInteger(heartbeatTicks) || heartbeatTicks < 1) {
    throw new InvalidArgumentError('heartbeatTicks', heartbeatTicks, 'a positive integer')
  }
  if (!Number.isSafeInteger(electionTicks) || electionTicks <= heartbeatTicks) {
    throw new InvalidArgumentError('electionTicks', electionTicks, 'an integer above heartbeatTicks')
  }
  if (limits.maxAppendBytes > MAX_APPEND_BYTES) {
    throw new InvalidArgumentError('maxAppendBytes', limits.maxAppendBytes, `at most ${MAX_APPEND_BYTES}`)
  }
  return new Driver(components, { id, tickMs, electionTicks, heartbeatTicks, limits })
}

/** A write that storage has not confirmed, and the messages that wait for it. */
interface WriteUnderWay {
  readonly ack: StorageAck
  readonly messages: Outgoing[]
}

class Driver implements RaftNode {
  private readonly core: RaftCore
  private readonly reads: PendingReads
  private readonly writes: WriteUnderWay[] = []
  private readonly limits: RaftLimits
  private applying: Promise<void> | undefined
  private stopped = false
  private closing: Promise<void> | undefined
  private drainScheduled = false
  private wasReady = false
  private cancelTick: () => void = () => {}

  constructor(
    private readonly components: RaftComponents,
    private readonly init: Required<RaftNodeInit> & { readonly limits: RaftLimits }
  ) {
    const { log, random, application } = components
    const { id, electionTicks, heartbeatTicks, limits } = init
    this.limits = limits
    this.reads = new PendingReads(limits.maxPendingReads)
    this.core = createRaftCore({
      id,
      log,
      hardState: log.hardState,
      configurations: log.configurations,
      appliedIndex: application.appliedIndex,
      electionTicks,
      heartbeatTicks,
      limits,
      random: () => random.next()
    })
    this.scheduleTick()
    this.scheduleDrain()
  }

  status(): RaftStatus {
    const { core } = this
    const { voters, learners } = core.configuration
    const { id } = this.init
    return {
      id,
      role: core.role === 'follower' && learners.includes(id) ? 'learner' : core.role,
      term: core.term,
      leader: core.leader,
      ready: core.leaderReady && !this.stopped,
      lastIndex: core.lastIndex,
      commitIndex: core.commitIndex,
      appliedIndex: core.appliedIndex,
      voters,
      learners
    }
  }

  propose(data: Uint8Array): { index: number; term: number } {
    if (this.stopped) throw this.notLeader()
    if (data.length > MAX_ENTRY_BYTES) {
      throw new InvalidArgumentError('data', `${data.length} bytes`, `at most ${MAX_ENTRY_BYTES} bytes`)
    }
    const proposed = this.core.propose([data])
    if ('refused' in proposed) {
      if (proposed.refused === 'notLeader') throw this.notLeader()
      throw new BackPressureError('proposed bytes', proposed.uncommittedBytes, this.limits.maxUncommittedBytes)
    }
    this.scheduleDrain()
    return proposed
  }

  readIndex(): Promise<number> {
    if (this.stopped || this.core.role !== 'leader') return Promise.reject(this.notLeader())
    return this.reads.add((context) => {
      this.core.readIndex(context)
      this.scheduleDrain()
    })
  }

  receive(from: string, message: RaftMessage): void {
    this.guard(() => this.core.step(from, message))
    this.scheduleDrain()
  }

  close(): Promise<void> {
    this.closing ??= this.shutDown()
    return this.closing
  }

  private async shutDown(): Promise<void> {
    this.stop()
    await this.applying
    await this.components.log.close()
  }

  private stop(): void {
    this.stopped = true
    this.cancelTick()
    this.reads.rejectAll(() => this.notLeader())
  }

  private fail(error: unknown): void {
    if (this.stopped) return
    this.stop()
    this.components.application.onFatal(error instanceof Error ? error : new Error(String(error)))
  }

  /** Runs `step`; what it throws ends the node. */
  private guard(step: () => void): void {
    if (this.stopped) return
    try {
      step()
    } catch (error) {
      this.fail(error)
    }
  }

  private scheduleTick(): void {
    // One tick a call, however late: a process that was suspended must not count the pause as its leader's silence before
    // it has read what arrived meanwhile.
    this.cancelTick = this.components.clock.schedule(this.init.tickMs, () => {
      this.scheduleTick()
      this.guard(() => this.core.tick())
      this.scheduleDrain()
    })
  }

  /** What happens in one turn becomes one Ready, at the turn's end. A microtask costs no time and is deterministic. */
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
  }

  private handle(ready: Ready): void {
    this.send(ready.messages)
    this.persist(ready)
    if (ready.softState !== undefined && ready.softState.role !== 'leader') this.reads.rejectAll(() => this.notLeader())
    for (const { context, index } of ready.readStates) this.reads.confirm(context, index)
    if (ready.committed.length > 0) this.apply(ready.committed)
    this.afterApply(ready.softState !== undefined)
  }

  /** What waits for the state machine, and what the application must hear. */
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

  /** Persist, then send what must wait: a vote that leaves before it is durable can be cast twice (Figure 2). */
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
      (error: unknown) => this.fail(error)
    )
  }

  private written(): void {
    const { ack, messages } = this.writes.shift()!
    this.send(messages)
    this.core.persisted(ack)
    this.drain()
  }

  private apply(entries: readonly Entry[]): void {
    const last = entries.at(-1)!.index
    const result = this.components.application.apply(entries)
    if (result === undefined) {
      this.core.applied(last)
      return
    }
    this.applying = result.then(
      () => {
        this.applying = undefined
        this.guard(() => {
          this.core.applied(last)
          this.afterApply(false)
        })
        this.drain()
      },
      (error: unknown) => this.fail(error)
    )
  }

  private notLeader(): NotLeaderError {
    const leader = this.stopped ? undefined : this.core.leader
    return new NotLeaderError(this.init.id, leader === this.init.id ? undefined : leader)
  }
}
