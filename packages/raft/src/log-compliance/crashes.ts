import assert from 'node:assert/strict'
import type { LogWrite } from '../log/types.js'
import { firstState, matchingState, possibleStates, stateAfter } from './model.js'
import { Program } from './program.js'
import { Bench, BOOTSTRAP, entries, entry, isError, seeded, test, turn, type Rig } from './rig.js'

const PROGRAMS = 60
const CREATIONS = 200
const STEPPED_PROGRAMS = 6

export function crashTests<S>(rig: Rig<S>): void {
  test(rig, 'a log is made as a whole or not at all', ['powerLoss'], async ({ adapter }) => {
    for (const creation of [BOOTSTRAP, { join: true } as const]) {
      for (let seed = 0; seed < CREATIONS; seed++) {
        const storage = await adapter.createStorage()
        void adapter.open(storage, creation)
        for (let turns = seed % 40; turns > 0; turns--) await turn()
        await adapter.powerLoss!(storage, seeded(seed))
        const log = await adapter.open(storage, creation)
        matchingState(log, [firstState(creation)], 0)
        await log.close()
        await adapter.removeStorage?.(storage)
      }
    }
  })

  test(
    rig,
    'a log never has entries without the hard state that came with them (Figure 2)',
    ['powerLoss'],
    async (bench) => {
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
    }
  )

  test(
    rig,
    'a log is the old one or the new one after a power loss during a reset',
    ['powerLoss'],
    async ({ adapter }) => {
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
    }
  )

  test(rig, 'a log acknowledges a large write only when all of it is durable', ['powerLoss'], async ({ adapter }) => {
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
    'a log shows nothing after a failed flush that a power loss can still take away',
    ['failNextWrite', 'powerLoss'],
    async ({ adapter }) => {
      for (let seed = 0; seed < PROGRAMS; seed++) {
        const storage = await adapter.createStorage()
        let log = await adapter.open(storage, BOOTSTRAP)
        const before = { entries: entries(2, 9, 1) }
        await log.append(before)
        adapter.failNextWrite!(storage)
        const write = { entries: entries(10, 20, 1) }
        await assert.rejects(log.append(write), isError('LogFailedError'))
        await log.close()
        log = await adapter.open(storage, undefined)
        const states = possibleStates(stateAfter(firstState(BOOTSTRAP), before), [write], 0)
        const state = matchingState(log, states, 0)
        await adapter.powerLoss!(storage, seeded(seed))
        log = await adapter.open(storage, undefined)
        matchingState(log, [state], 0)
        await log.close()
        await adapter.removeStorage?.(storage)
      }
    }
  )

  test(
    rig,
    'a log survives a power loss during compaction, although truncations began later segments below earlier ones',
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

  test(
    rig,
    'a log holds every acknowledged write, and nothing that was not written, after any program',
    [],
    async ({ adapter }) => {
      // An adapter without power loss finds fewer faults, and likely waits for a real disk.
      const programs = adapter.powerLoss === undefined ? PROGRAMS / 4 : PROGRAMS
      for (let seed = 0; seed < programs; seed++) {
        const storage = await adapter.createStorage()
        await new Program(new Bench(adapter, storage), seeded(seed), Infinity).run()
        await adapter.removeStorage?.(storage)
      }
    }
  )

  test(
    rig,
    'a log holds every acknowledged write after a power loss at any step of a program',
    ['powerLoss'],
    async ({ adapter }) => {
      for (let seed = 0; seed < STEPPED_PROGRAMS; seed++) {
        for (let turns = 1, done = false; !done; turns++) {
          const storage = await adapter.createStorage()
          done = await new Program(new Bench(adapter, storage), seeded(1000 + seed), turns).run()
          await adapter.removeStorage?.(storage)
        }
      }
    }
  )
}
