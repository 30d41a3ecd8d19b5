import assert from 'node:assert/strict'
import type { Entry, SnapshotMeta } from '../core/types.js'
import type { LogWrite } from '../log/types.js'
import { firstState, lastIndexOf, matchingState, possibleStates, stateAfter, type LogState } from './model.js'
import { Bench, BOOTSTRAP, entries, entry, seeded, test, turn, type Rig } from './rig.js'

const PROGRAMS = 60
const STEPPED_PROGRAMS = 6
const OPERATIONS = 25
/** A program that takes longer never ends. */
const MAX_TURNS = 1_000_000

export function crashTests<S>(rig: Rig<S>): void {
  test(rig, 'is made whole or not at all', ['powerLoss'], async ({ adapter }) => {
    for (const creation of [BOOTSTRAP, { join: true } as const]) {
      for (let turns = 0; turns < 40; turns++) {
        const storage = await adapter.createStorage()
        void adapter.open(storage, creation)
        for (let i = 0; i < turns; i++) await turn()
        await adapter.powerLoss!(storage, seeded(turns))
        const log = await adapter.open(storage, creation)
        matchingState(log, [firstState(creation)], 0)
        await log.close()
        await adapter.removeStorage?.(storage)
      }
    }
  })

  test(rig, 'never has entries without the hard state that came with them (Figure 2)', ['powerLoss'], async (bench) => {
    for (let seed = 0; seed < PROGRAMS; seed++) {
      const random = seeded(seed)
      const start = bench.log?.hardState.term ?? 1
      const log = bench.log ?? (await bench.open(BOOTSTRAP))
      for (let term = start + 1; term < start + 9; term++) {
        void log.append({
          hardState: { term, vote: `${term}`, commit: 1 },
          entries: entries(2, 2 + Math.floor(random() * 30), term, 300)
        })
      }
      for (let turns = random() * 12; turns > 0; turns--) await turn()
      await bench.adapter.powerLoss!(bench.storage, random)
      const { hardState, lastIndex } = await bench.open()
      for (let index = 1; index <= lastIndex; index++) {
        const term = bench.log.term(index)!
        assert.ok(term <= hardState.term, `entry ${index} of term ${term}, the hard state is of ${hardState.term}`)
      }
    }
    await bench.log.close()
  })

  test(rig, 'is the old log or the new one when power is lost during a reset', ['powerLoss'], async ({ adapter }) => {
    const write: LogWrite = {
      reset: { index: 300, term: 3, configuration: entry(250, 2, 'config') },
      hardState: { term: 3, vote: undefined, commit: 300 },
      entries: entries(301, 303, 3)
    }
    for (let seed = 0; seed < PROGRAMS; seed++) {
      const random = seeded(seed)
      const storage = await adapter.createStorage()
      let log = await adapter.open(storage, BOOTSTRAP)
      const before = { entries: entries(2, 90, 1) }
      await log.append(before)
      let durable = 0
      void log.append(write).then(() => durable++)
      for (let turns = random() * 30; turns > 0; turns--) await turn()
      await adapter.powerLoss!(storage, random)
      log = await adapter.open(storage, undefined)
      const state = matchingState(log, possibleStates(stateAfter(firstState(BOOTSTRAP), before), [write], durable), 0)
      const next = { entries: [entry(log.lastIndex + 1, 4)] }
      await log.append(next)
      await log.close()
      log = await adapter.open(storage, undefined)
      matchingState(log, [stateAfter(state, next)], 0)
      await log.close()
      await adapter.removeStorage?.(storage)
    }
  })

  test(rig, 'acknowledges a large write when all of it is durable', ['powerLoss'], async ({ adapter }) => {
    const write: LogWrite = {
      hardState: { term: 2, vote: 'b', commit: 1 },
      entries: entries(2, 5, 2, 300_000)
    }
    for (let turns = 0, durable = 0; durable === 0; turns++) {
      const storage = await adapter.createStorage()
      let log = await adapter.open(storage, BOOTSTRAP)
      void log.append(write).then(() => durable++)
      for (let i = 0; i < turns; i++) await turn()
      await adapter.powerLoss!(storage, seeded(turns))
      log = await adapter.open(storage, undefined)
      matchingState(log, possibleStates(firstState(BOOTSTRAP), [write], durable), 0)
      await log.close()
      await adapter.removeStorage?.(storage)
    }
  })

  test(
    rig,
    'is compacted as far as it was when power is lost behind truncations',
    ['powerLoss'],
    async ({ adapter }) => {
      const writes: LogWrite[] = [
        { entries: entries(2, 300, 1) },
        { entries: entries(120, 320, 2) },
        { entries: entries(100, 280, 3) },
        { entries: entries(95, 260, 4) }
      ]
      const state = writes.reduce(stateAfter, firstState(BOOTSTRAP))
      for (let seed = 0; seed < PROGRAMS; seed++) {
        const random = seeded(seed)
        const storage = await adapter.createStorage()
        let log = await adapter.open(storage, BOOTSTRAP)
        for (const write of writes) await log.append(write)
        void log.compact(110)
        for (let turns = random() * 40; turns > 0; turns--) await turn()
        await adapter.powerLoss!(storage, random)
        log = await adapter.open(storage, undefined)
        matchingState(log, [state], 110)
        await log.compact(250)
        await log.close()
        log = await adapter.open(storage, undefined)
        matchingState(log, [state], 250)
        await log.close()
        await adapter.removeStorage?.(storage)
      }
    }
  )

  test(rig, 'has all that was acknowledged, and only what was written, after any program', [], async ({ adapter }) => {
    for (let seed = 0; seed < PROGRAMS; seed++) {
      const storage = await adapter.createStorage()
      await new Program(new Bench(adapter, storage), seeded(seed), Infinity).run()
      await adapter.removeStorage?.(storage)
    }
  })

  test(rig, 'has it also when power is lost at any step', ['powerLoss'], async ({ adapter }) => {
    for (let seed = 0; seed < STEPPED_PROGRAMS; seed++) {
      for (let turns = 1, done = false; !done; turns++) {
        const storage = await adapter.createStorage()
        done = await new Program(new Bench(adapter, storage), seeded(1000 + seed), turns).run()
        await adapter.removeStorage?.(storage)
      }
    }
  })
}

/** Power is lost at this turn. */
class PowerLost extends Error {}

/** A sequence of operations that `random` draws, as a Raft node would call them, and what the log may be after each. */
class Program<S> {
  /** The log as it was opened, and what was appended since. */
  private start: LogState = firstState(BOOTSTRAP)
  private writes: LogWrite[] = []
  private durable = 0
  /** The log when all writes are done. */
  private state = this.start
  /** Never truncated: known as committed, or compacted. */
  private committed = 1
  private compacted = 0
  private turns = 0
  private failure: Error | undefined

  constructor(
    private readonly bench: Bench<S>,
    private readonly random: () => number,
    /** Turn at which power is lost. */
    private readonly lossAt: number
  ) {}

  /** False when power was lost on the way; what was left then has been looked at. */
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

  /** Up to what is durable and nothing that was appended replaces. */
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

  private async reopen(): Promise<void> {
    while (this.durable < this.writes.length) await this.pass()
    matchingState(this.bench.log, [this.state], this.compacted)
    await this.finish(this.bench.log.close())
    await this.finish(this.bench.open())
    this.restart(matchingState(this.bench.log, [this.state], this.compacted))
  }

  private async losePower(): Promise<void> {
    const { adapter, storage } = this.bench
    const states = possibleStates(this.start, this.writes, this.durable)
    await adapter.powerLoss!(storage, this.random)
    // Power may be lost before there was a log.
    await this.bench.open(BOOTSTRAP)
    this.restart(matchingState(this.bench.log, states, this.compacted))
  }

  private restart(state: LogState): void {
    this.start = state
    this.state = state
    this.writes = []
    this.durable = 0
    this.committed = Math.max(state.hardState.commit, state.prevIndex, this.compacted)
  }

  private write(write: LogWrite): void {
    this.writes.push(write)
    this.state = stateAfter(this.state, write)
    const { writes } = this
    this.bench.log.append(write).then(
      () => {
        if (writes === this.writes) this.durable++
      },
      (error: unknown) => (this.failure = error as Error)
    )
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
    // It never settles when power is lost.
    settled.catch(() => {})
    while (isPending) await this.pass()
    await settled
  }

  private async pass(): Promise<void> {
    await turn()
    if (this.failure !== undefined) throw this.failure
    if (++this.turns === this.lossAt) throw new PowerLost()
    assert.ok(this.turns < MAX_TURNS, `the program is not done after ${this.turns} turns`)
  }

  /** A whole number below `limit`. */
  private below(limit: number): number {
    return Math.floor(this.random() * limit)
  }
}
