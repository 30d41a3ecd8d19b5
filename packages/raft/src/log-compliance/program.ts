import assert from 'node:assert/strict'
import type { Entry, SnapshotMeta } from '../core/types.js'
import { LogFullError } from '../errors.js'
import type { LogWrite } from '../log/types.js'
import { firstState, lastIndexOf, matchingState, possibleStates, stateAfter, type LogState } from './model.js'
import { type Bench, BOOTSTRAP, entries, entry, turn } from './rig.js'

const OPERATIONS = 25
/** A program that takes more turns is taken to be stuck. */
const MAX_TURNS = 1_000_000

/** Turns after which a log without descriptors has given back what it can. */
const PATIENCE_TURNS = 50

/** Thrown at the turn in which power is lost. */
class PowerLost extends Error {}

/**
 * Runs a random sequence of operations on a log, as a Raft node would call them.
 *
 * It knows the states that the log may have after each operation.
 */
export class Program<S> {
  /** State of the log when it was opened. `writes` holds every append since. */
  private start: LogState = firstState(BOOTSTRAP)
  private writes: LogWrite[] = []
  private durable = 0
  /** State of the log once all writes are done. */
  private state = this.start
  /** The highest index that is committed or compacted, and so never truncated. */
  private committed = 1
  private compacted = 0
  private turns = 0
  private failure: Error | undefined
  private isShort = false
  /**
   * Descriptors have run out since the log was opened. Entries may be given back until the log tries again, which may
   * be later.
   */
  private wasShort = false
  /** The log has given entries back. */
  private gaveBack = false

  constructor(
    private readonly bench: Bench<S>,
    private readonly random: () => number,
    /** The turn in which power is lost. */
    private readonly lossAt: number
  ) {}

  /** Returns false if power was lost on the way; in that case it has checked what is left. */
  async run(): Promise<boolean> {
    try {
      await this.finish(this.bench.open(BOOTSTRAP))
      for (let i = 0; i < OPERATIONS; i++) {
        await this.operate()
        for (let turns = this.below(4); turns > 0; turns--) await this.pass()
      }
      await this.reopen()
      await this.bench.log.close()
      return true
    } catch (error) {
      if (!(error instanceof PowerLost)) throw error
      await this.losePower()
      await this.bench.log.close()
      return false
    }
  }

  private async operate(): Promise<void> {
    if (this.gaveBack) await this.settle()
    if (this.bench.adapter.setDescriptors !== undefined && this.below(6) === 0) this.setDescriptors(!this.isShort)
    const choice = this.below(20)
    if (choice < 9) this.append(lastIndexOf(this.state) + 1)
    else if (choice < 12) this.truncate()
    else if (choice < 14) this.commit()
    else if (choice < 17) this.compact()
    else if (choice < 18) this.reset()
    else if (choice < 19) await this.reopen()
    else if (this.lossAt === Infinity && this.bench.adapter.powerLoss !== undefined) await this.losePower()
  }

  private append(first: number): void {
    const { term } = this.state.hardState
    this.write({ entries: this.someEntries(first, term) })
  }

  private truncate(): void {
    const last = lastIndexOf(this.state)
    const first = this.committed + 1 + this.below(Math.max(1, last - this.committed))
    const { term, commit } = this.state.hardState
    this.write({
      hardState: { term: term + 1, vote: this.below(2) === 0 ? 'b' : undefined, commit },
      entries: this.someEntries(Math.min(first, last + 1), term + 1)
    })
  }

  /** Commits entries that are durable, and that no pending write replaces. */
  private commit(): void {
    if (this.isResetting) return
    const { log } = this.bench
    const replaced = this.writes.slice(this.durable).map((write) => write.entries[0]?.index ?? Infinity)
    const stable = Math.min(log.lastIndex, ...replaced.map((index) => index - 1))
    if (stable < this.committed) return
    this.committed += this.below(stable - this.committed + 1)
    this.write({ hardState: { ...this.state.hardState, commit: this.committed }, entries: [] })
  }

  private compact(): void {
    if (this.isResetting) return
    const from = this.bench.log.firstIndex
    const index = Math.min(this.committed, from + this.below(this.committed - from + 2))
    this.compacted = Math.max(this.compacted, index)
    void this.bench.log.compact(index)
  }

  private reset(): void {
    const index = lastIndexOf(this.state) + this.below(4) + 1
    const term = this.state.hardState.term + 1
    const reset: SnapshotMeta = { index, term, configuration: entry(index - this.below(2), term, 'config') }
    this.committed = index
    this.write({
      reset,
      hardState: { term, vote: undefined, commit: index },
      entries: this.below(2) === 0 ? [] : this.someEntries(index + 1, term)
    })
  }

  private setDescriptors(isShort: boolean): void {
    this.isShort = isShort
    if (isShort) this.wasShort = true
    this.bench.adapter.setDescriptors?.(this.bench.storage, isShort)
  }

  private async reopen(): Promise<void> {
    // A log without descriptors cannot be opened.
    this.setDescriptors(false)
    await this.settle()
    await this.finish(this.bench.log.close())
    await this.finish(this.bench.open())
    this.wasShort = false
    this.restart(matchingState(this.bench.log, [this.state], this.compacted))
  }

  private async losePower(): Promise<void> {
    const { adapter, storage } = this.bench
    const states = this.possible()
    await adapter.powerLoss!(storage, this.random)
    this.setDescriptors(false)
    // Power may have been lost before the log was made.
    await this.bench.open(BOOTSTRAP)
    this.wasShort = false
    this.restart(matchingState(this.bench.log, states, this.compacted))
  }

  private restart(state: LogState): void {
    this.start = state
    this.state = state
    this.writes = []
    this.durable = 0
    this.gaveBack = false
    this.committed = Math.max(state.hardState.commit, state.prevIndex, this.compacted)
  }

  private write(write: LogWrite): void {
    const at = this.writes.push(write) - 1
    this.state = stateAfter(this.state, write)
    const { writes } = this
    this.bench.log.append(write).then(
      () => {
        if (writes === this.writes) this.durable++
      },
      (error: unknown) => {
        if (!this.wasShort || !(error instanceof LogFullError)) this.failure = error as Error
        if (writes !== this.writes || !(error instanceof LogFullError)) return
        writes[at] = keptOf(write, error)
        this.durable++
        this.gaveBack = true
      }
    )
  }

  /** Waits for all writes, and checks their result. */
  private async settle(): Promise<void> {
    for (let turns = 0; this.durable < this.writes.length; turns++) {
      // The log may wait for a descriptor, to make the name of a prepared file durable.
      if (turns === PATIENCE_TURNS) this.setDescriptors(false)
      await this.pass()
    }
    const state = capped(this.writes.reduce(stateAfter, this.start))
    // The check is synchronous, so nothing else finds a descriptor meanwhile.
    const { isShort } = this
    this.setDescriptors(false)
    this.restart(matchingState(this.bench.log, [state], this.compacted))
    this.setDescriptors(isShort)
  }

  /**
   * The states that a power loss may leave now. Without descriptors a hard state may become durable before earlier
   * entries, which are about to be given back.
   */
  private possible(): LogState[] {
    const { start, writes, durable } = this
    const states = possibleStates(start, writes, durable).map(capped)
    if (!this.wasShort) return states
    const ahead = writes.slice(durable).flatMap(({ hardState }) => (hardState === undefined ? [] : [hardState]))
    return [...states, ...states.flatMap((state) => ahead.map((hardState) => capped({ ...state, hardState })))]
  }

  private get isResetting(): boolean {
    return this.writes.slice(this.durable).some(({ reset }) => reset !== undefined)
  }

  private someEntries(first: number, term: number): Entry[] {
    const bytes = this.below(4) === 0 ? 2000 : 60
    return entries(first, first + this.below(6), term, bytes).map((each) =>
      this.below(8) === 0 ? { ...each, kind: 'config' as const } : each
    )
  }

  private async finish(promise: Promise<unknown>): Promise<void> {
    let isPending = true
    const settled = promise.finally(() => (isPending = false))
    // The promise never settles if power is lost.
    settled.catch(() => {})
    while (isPending) await this.pass()
    await settled
  }

  private async pass(): Promise<void> {
    await turn()
    if (this.failure !== undefined) throw this.failure
    if (++this.turns === this.lossAt) throw new PowerLost()
    assert.ok(this.turns < MAX_TURNS, `the program is still running after ${this.turns} turns`)
  }

  /** A whole number below `limit`. */
  private below(limit: number): number {
    return Math.floor(this.random() * limit)
  }
}

/** The part of a write that the log has kept when it gave the write back. */
function keptOf({ hardState, reset, entries: given }: LogWrite, { stored }: LogFullError): LogWrite {
  return { hardState, entries: reset === undefined ? given.filter(({ index }) => index <= stored) : [] }
}

/** Lowers a commit index that names an entry of a reset that was given back. */
function capped(state: LogState): LogState {
  const { hardState } = state
  return { ...state, hardState: { ...hardState, commit: Math.min(hardState.commit, lastIndexOf(state)) } }
}
