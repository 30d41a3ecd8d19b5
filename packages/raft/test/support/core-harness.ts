import type { RaftMessage, RaftMessageOf } from '@quire/protocol'
import {
  createRaftCore,
  type CoreLimits,
  type Entry,
  type HardState,
  type PieceReceived,
  type PieceWanted,
  type RaftCore,
  type Ready,
  type SnapshotMeta
} from '../../src/core/index.js'
import { configurationEntry, entry, HandStorage, type Members } from './hand-storage.js'

export const LIMITS: CoreLimits = {
  maxAppendBytes: 1000,
  maxInflightMessages: 4,
  maxInflightBytes: 1_000_000,
  maxUncommittedBytes: 10_000,
  maxApplyBytes: 1000
}

export interface CoreOptions {
  readonly id?: string
  readonly voters?: readonly string[]
  readonly learners?: readonly string[]
  readonly term?: number
  readonly vote?: string
  readonly commit?: number
  /** Terms of the log's entries. The first entry is the configuration. */
  readonly terms?: readonly number[]
  /** Configurations at other indexes. */
  readonly changes?: ReadonlyMap<number, Members>
  /** The log starts after this index, and the state machine holds a snapshot of it. */
  readonly compacted?: number
  readonly limits?: Partial<CoreLimits>
}

export interface Sent {
  readonly to: string
  readonly message: RaftMessage
  /** The message had to wait until the write was durable. */
  readonly late: boolean
}

/** A core with a storage that the test flushes by hand. */
export class CoreHarness {
  readonly core: RaftCore
  readonly storage: HandStorage
  readonly sent: Sent[] = []
  readonly applied: Entry[] = []
  readonly confirmed: { context: number; index: number }[] = []
  readonly wanted: PieceWanted[] = []
  readonly received: PieceReceived[] = []
  readonly installs: SnapshotMeta[] = []
  /** Writes that were handed out and are not durable yet, with the messages that wait for them. */
  readonly writes: Ready[] = []

  constructor(options: CoreOptions = {}) {
    const { id = 'a', terms = [1], vote, changes, compacted = 0 } = options
    const { voters = ['a', 'b', 'c'], learners = [], commit = Math.min(1, terms.length) } = options
    const stored = terms.map((term, i) => {
      const members = i === 0 ? { voters, learners } : changes?.get(i + 1)
      return members === undefined ? entry(i + 1, term) : configurationEntry(i + 1, term, members)
    })
    this.storage = new HandStorage(stored, { term: options.term ?? terms.at(-1) ?? 0, vote, commit })
    if (compacted > 0) this.storage.compact(compacted)
    const { hardState, configurations } = this.storage
    this.core = createRaftCore({
      id,
      log: this.storage,
      hardState,
      configurations,
      snapshot: compacted > 0 ? snapshotOf(compacted, terms[compacted - 1]!, configurations[0]!) : undefined,
      appliedIndex: compacted,
      electionTicks: 10,
      heartbeatTicks: 2,
      limits: { ...LIMITS, ...options.limits },
      random: () => 0
    })
  }

  get stored(): readonly Entry[] {
    return this.storage.stored
  }

  get hardState(): HardState {
    return this.storage.hardState
  }

  /** Takes all output of the core. `flush` also makes its writes durable. */
  drain(flush = true): this {
    for (let ready = this.core.ready(); ready !== undefined; ready = this.core.ready()) {
      for (const out of ready.messages) this.sent.push({ ...out, late: false })
      this.confirmed.push(...ready.readStates)
      this.wanted.push(...ready.piecesWanted)
      if (ready.pieceReceived !== undefined) this.received.push(ready.pieceReceived)
      if (ready.install !== undefined) this.installs.push(ready.install)
      this.writes.push(ready)
      if (ready.committed.length > 0) {
        this.applied.push(...ready.committed)
        this.core.applied(ready.committed.at(-1)!.index)
      }
      if (flush) this.flush()
    }
    return this
  }

  /** Makes the oldest `count` writes durable. */
  flush(count = this.writes.length): this {
    for (const { write, messagesAfter } of this.writes.splice(0, count)) {
      if (write !== undefined) this.storage.write(write)
      for (const out of messagesAfter) this.sent.push({ ...out, late: true })
      if (write !== undefined) this.core.persisted(write.ack)
    }
    return this
  }

  step(from: string, message: RaftMessage, flush = true): this {
    this.core.step(from, message)
    return this.drain(flush)
  }

  tick(count = 1): this {
    for (let i = 0; i < count; i++) this.core.tick()
    return this.drain()
  }

  /**
   * Lets the election timeout elapse and every voter grant the pre-vote, so that the core is a candidate. `flush` makes
   * its own vote durable.
   */
  stand(flush = true): this {
    for (let i = 0; i < 10; i++) this.core.tick()
    const { voters, outgoing } = this.core.configuration
    for (const from of [...voters, ...outgoing]) {
      if (this.core.role !== 'preCandidate') break
      this.core.step(from, { type: 'preVoteReply', term: this.core.term + 1, granted: true })
    }
    return this.drain(flush)
  }

  /** Makes this core the leader, with the votes of all voters. */
  lead(): this {
    this.stand()
    for (const from of this.core.configuration.voters) {
      if (this.core.role === 'candidate') this.step(from, { type: 'voteReply', term: this.core.term, granted: true })
    }
    if (this.core.role !== 'leader') throw new Error(`is ${this.core.role}`)
    return this
  }

  accept(from: string, index: number, flush = true): this {
    return this.step(from, accepted(this.core.term, index), flush)
  }

  /** The follower `from` answers two heartbeats, and acknowledges nothing. */
  hearOf(from: string): this {
    for (let i = 0; i < 2; i++)
      this.tick(2).step(from, { type: 'heartbeatReply', term: this.core.term, round: 0, room: 'enough' })
    return this
  }

  /** Returns the messages of one type since the last call. */
  take<T extends RaftMessage['type']>(type: T): (Sent & { message: Extract<RaftMessage, { type: T }> })[] {
    const taken = this.sent.filter(({ message }) => message.type === type)
    this.sent.length = 0
    return taken as (Sent & { message: Extract<RaftMessage, { type: T }> })[]
  }

  get terms(): number[] {
    return Array.from({ length: this.core.lastIndex }, (_, i) => this.stored[i]?.term ?? 0)
  }
}

export function append(
  term: number,
  prevIndex: number,
  prevTerm: number,
  terms: readonly number[] = [],
  commit = 0
): RaftMessage {
  const entries = terms.map((each, i) => entry(prevIndex + 1 + i, each))
  return { type: 'append', term, prevIndex, prevTerm, commit, entries }
}

export function accepted(term: number, index: number): RaftMessageOf<'appendReply'> {
  return { type: 'appendReply', term, rejected: false, index, hintIndex: 0, hintTerm: 0 }
}

export function rejected(
  term: number,
  index: number,
  hintIndex: number,
  hintTerm: number
): RaftMessageOf<'appendReply'> {
  return { type: 'appendReply', term, rejected: true, index, hintIndex, hintTerm }
}

/** A voter's answer to a vote request in `term`. */
export function voteFor(term: number, granted = true): RaftMessageOf<'voteReply'> {
  return { type: 'voteReply', term, granted }
}

export function snapshotOf(index: number, term: number, configuration: Entry): SnapshotMeta {
  return { index, term, configuration }
}
