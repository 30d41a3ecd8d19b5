import { encode, raftConfiguration, type RaftMessage } from '@quire/protocol'
import {
  createRaftCore,
  type Configuration,
  type CoreLimits,
  type Entry,
  type HardState,
  type RaftCore,
  type Ready
} from '../../src/index.js'
import { entry } from './log-model.js'

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
  /** Terms of the log's entries; the first is the configuration's. */
  readonly terms?: readonly number[]
  readonly limits?: Partial<CoreLimits>
}

export interface Sent {
  readonly to: string
  readonly message: RaftMessage
  /** Left only after the write was durable. */
  readonly late: boolean
}

/** A core with a storage that the test flushes by hand. */
export class CoreHarness {
  readonly core: RaftCore
  readonly stored: Entry[]
  hardState: HardState
  readonly sent: Sent[] = []
  readonly applied: Entry[] = []
  readonly confirmed: { context: number; index: number }[] = []
  /** Writes that were handed out and are not durable yet, with the messages that wait for them. */
  readonly writes: Ready[] = []

  constructor(options: CoreOptions = {}) {
    const { id = 'a', voters = ['a', 'b', 'c'], learners = [], terms = [1], commit = 1, vote } = options
    const data = configurationData({ voters: [...voters], learners: [...learners] })
    this.stored = terms.map((term, i) => (i === 0 ? { index: 1, term, kind: 'config', data } : entry(i + 1, term)))
    this.hardState = { term: options.term ?? terms.at(-1)!, vote, commit }
    const { stored } = this
    this.core = createRaftCore({
      id,
      log: {
        firstIndex: 1,
        get lastIndex() {
          return stored.length
        },
        term: (index) => (index === 0 ? 0 : stored[index - 1]?.term),
        entries: (lo, hi, maxBytes) => {
          const found = stored.slice(lo - 1, hi - 1)
          let bytes = 0
          const end = found.findIndex((each, i) => (bytes += each.data.length + 21) > maxBytes && i > 0)
          return end < 0 ? found : found.slice(0, end)
        }
      },
      hardState: this.hardState,
      configurations: this.stored.slice(0, 1),
      appliedIndex: 0,
      electionTicks: 10,
      heartbeatTicks: 2,
      limits: { ...LIMITS, ...options.limits },
      random: () => 0
    })
  }

  /** Takes what is ready; `flush` makes it durable, too. */
  drain(flush = true): this {
    for (let ready = this.core.ready(); ready !== undefined; ready = this.core.ready()) {
      for (const out of ready.messages) this.sent.push({ ...out, late: false })
      this.confirmed.push(...ready.readStates)
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
      if (write?.hardState !== undefined) this.hardState = write.hardState
      for (const added of write?.entries ?? []) this.stored.splice(added.index - 1, Infinity, added)
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

  /** Its time-out runs out, and everybody would vote for it: it is a candidate, its own vote not yet flushed unless asked for. */
  stand(flush = true): this {
    for (let i = 0; i < 10; i++) this.core.tick()
    const { voters, outgoing } = this.core.configuration
    for (const from of [...voters, ...outgoing]) {
      if (this.core.role !== 'preCandidate') break
      this.core.step(from, { type: 'preVoteReply', term: this.core.term + 1, granted: true })
    }
    return this.drain(flush)
  }

  /** Makes this core the leader by the votes of all. */
  lead(): this {
    this.stand()
    for (const from of this.core.configuration.voters) {
      if (this.core.role === 'candidate') this.step(from, { type: 'voteReply', term: this.core.term, granted: true })
    }
    if (this.core.role !== 'leader') throw new Error(`is ${this.core.role}`)
    return this
  }

  accept(from: string, index: number): this {
    return this.step(from, {
      type: 'appendReply',
      term: this.core.term,
      rejected: false,
      index,
      hintIndex: 0,
      hintTerm: 0
    })
  }

  /** Messages of one type since the last call. */
  take<T extends RaftMessage['type']>(type: T): (Sent & { message: Extract<RaftMessage, { type: T }> })[] {
    const taken = this.sent.filter(({ message }) => message.type === type)
    this.sent.length = 0
    return taken as (Sent & { message: Extract<RaftMessage, { type: T }> })[]
  }

  get terms(): number[] {
    return Array.from({ length: this.core.lastIndex }, (_, i) => this.stored[i]?.term ?? 0)
  }
}

export function configurationData(configuration: Partial<Configuration>): Uint8Array {
  const nobody = { voters: [], learners: [], outgoing: [], learnersNext: [], context: new Uint8Array(0) }
  return encode(raftConfiguration, { ...nobody, ...configuration })
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
