import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { CodecError, QuireError, MAX_PAGE_BYTES } from '@quire/protocol'
import { createApplier, createPageStore } from '../src/pages/index.js'
import {
  createStateMachine,
  decodeCommand,
  encodeCommand,
  type Command,
  type StateMachine
} from '../src/state/index.js'
import { choices, entriesFrom, manualClock, memoryStorage, memoryStore } from './state-helpers.js'

/** So few that these tests exceed it. */
const MAX_RELEASED = 2

describe('the state machine', () => {
  it('two replicas that apply the same entries have the same outcomes and the same digest', () => {
    fc.assert(
      fc.property(choices(120), (list) => {
        const [one, two] = [createStateMachine(memoryStore()), createStateMachine(memoryStore())]
        for (const { index, kind, data } of entriesFrom(list)) {
          expect(two.apply(index, kind, data.slice())).toEqual(one.apply(index, kind, data))
        }
        expect(two.digest()).toBe(one.digest())
      }),
      { numRuns: 60 }
    )
  })

  it('a state machine that is reset has exactly the restored state, whatever it held before', async () => {
    await fc.assert(
      fc.asyncProperty(choices(60), choices(60), async (kept, dropped) => {
        const storage = memoryStorage()
        const store = createPageStore({ backend: storage.open() })
        const plain = createStateMachine(store)
        for (const { index, kind, data } of entriesFrom(kept)) plain.apply(index, kind, data)
        store.freeze(plain.appliedIndex)
        await store.flush()

        // Its own changes are in its page store only, which is dropped with them.
        const machine = createStateMachine(createPageStore({ backend: memoryStorage().open() }))
        for (const { index, kind, data } of entriesFrom(dropped)) machine.apply(index, kind, data)
        const { appliedIndex, records } = createPageStore({ backend: storage.open() }).restored
        machine.reset({ appliedIndex, records })
        expect(recordsOf(machine)).toEqual(recordsOf(plain))
      }),
      { numRuns: 40 }
    )
  })

  it('an entry that changes something changes the digest', () => {
    const entries = entriesFrom([
      [7, 0, 0, 1],
      [13, 0, 0, 1]
    ])
    const machine = createStateMachine(memoryStore())
    const digests = new Set(
      entries.map(({ index, kind, data }) => (machine.apply(index, kind, data), machine.digest()))
    )
    expect(digests.size).toBe(entries.length)
  })

  it('a state machine recovers the same state from a checkpoint and the log after a crash at any moment', async () => {
    await fc.assert(
      fc.asyncProperty(
        choices(150),
        fc.array(fc.tuple(fc.nat(160), fc.constantFrom('checkpoint', 'freeze', 'crash', 'crash late')), {
          maxLength: 12
        }),
        async (list, plan) => {
          const entries = entriesFrom(list)
          const plain = createStateMachine(memoryStore(), undefined, MAX_RELEASED)
          const versions: string[] = []
          const outcomes = entries.map(({ index, kind, data }) => {
            const outcome = plain.apply(index, kind, data)
            versions.push(index % 10 === 0 ? versionsOf(plain) : '')
            return outcome
          })
          const steps = new Map(plan)

          const queue: (() => void)[] = []
          const storage = memoryStorage((callback) => void queue.push(callback))
          const finish = () => queue.splice(0).forEach((callback) => callback())
          let store = createPageStore({ backend: storage.open() })
          let machine = createStateMachine(store, store.restored, MAX_RELEASED)
          let at = 0
          while (at < entries.length) {
            const { index, kind, data } = entries[at] as (typeof entries)[number]
            expect(machine.apply(index, kind, data)).toEqual(outcomes[at])
            if (index % 10 === 0) expect(versionsOf(machine)).toBe(versions[at])
            const step = steps.get(at++)
            if (step === undefined) continue
            steps.delete(at - 1)
            if (!store.hasFrozen) store.freeze(machine.appliedIndex)
            const flushed = store.flush()
            if (step === 'checkpoint') {
              finish()
              await flushed
            } else if (step !== 'freeze') {
              storage.crash({ keepPending: step === 'crash late' })
              store = createPageStore({ backend: storage.open() })
              machine = createStateMachine(store, store.restored, MAX_RELEASED)
              at = machine.appliedIndex
            } else {
              // Further entries apply over a frozen memtable, whose flush ends some entries later, or never.
              flushed.catch(() => undefined)
              if (index % 2 === 0) {
                finish()
                await flushed
              }
            }
          }
          expect(machine.digest()).toBe(plain.digest())
        }
      ),
      { numRuns: 80 }
    )
  })

  it('an applier that checkpoints every few entries restores the same state', async () => {
    await fc.assert(
      fc.asyncProperty(choices(100), fc.integer({ min: 1, max: 30 }), async (list, checkpointEntries) => {
        const entries = entriesFrom(list)
        const plain = createStateMachine(memoryStore(), undefined, MAX_RELEASED)
        for (const { index, kind, data } of entries) plain.apply(index, kind, data)
        const storage = memoryStorage()
        const clock = manualClock()
        const open = () =>
          createApplier({
            store: createPageStore({ backend: storage.open() }),
            clock,
            checkpointEntries,
            maxReleased: MAX_RELEASED
          })
        const first = open()
        for (const entry of entries) await first.apply([entry])
        await first.close()
        const second = open()
        expect(second.appliedIndex).toBe(entries.length)
        expect(second.state.digest()).toBe(plain.digest())
      }),
      { numRuns: 40 }
    )
  })
})

/** Returns the version of each page that a file of these tests can have, even of missing files. */
function versionsOf(machine: StateMachine): string {
  const versions: number[] = []
  for (let file = 1; file < 14; file++) {
    for (let page = 0; page < 7; page++) versions.push(machine.version(file, page))
  }
  return versions.join(' ')
}

const uint = fc.nat(Number.MAX_SAFE_INTEGER)
const at = fc.double()
const bytes = fc.uint8Array({ maxLength: 5000 })
const text = fc.string({ unit: 'grapheme', maxLength: 100 })
const request = { session: uint, seq: uint, settled: uint, at }
const anyCommand: fc.Arbitrary<Command> = fc.oneof(
  fc.record({ type: fc.constant('openSession' as const), clientId: fc.string({ maxLength: 60 }), ttlMs: uint, at }),
  fc.record({ type: fc.constantFrom('expireSession' as const, 'endSession' as const), session: uint, at }),
  fc.record({
    type: fc.constant('open' as const),
    ...request,
    path: text,
    create: fc.boolean(),
    exclusive: fc.boolean(),
    size: uint,
    pageSize: uint,
    unit: fc.constantFrom(undefined, 'page' as const, 'file' as const)
  }),
  fc.record({ type: fc.constant('close' as const), ...request, file: uint }),
  fc.record({
    type: fc.constant('truncate' as const),
    ...request,
    file: uint,
    size: uint,
    tail: fc.option(fc.record({ file: uint, page: uint, epoch: uint, seq: uint, bytes }), { nil: undefined })
  }),
  fc.record({ type: fc.constant('punch' as const), ...request, file: uint, first: uint, end: uint }),
  fc.record({ type: fc.constant('rename' as const), ...request, from: text, to: text }),
  fc.record({ type: fc.constant('unlink' as const), ...request, path: text }),
  fc.record({
    type: fc.constant('createUnnamed' as const),
    ...request,
    size: uint,
    pageSize: uint,
    unit: fc.constantFrom(undefined, 'page' as const, 'file' as const)
  }),
  fc.record({ type: fc.constant('link' as const), ...request, file: uint, path: text }),
  fc.record({ type: fc.constant('extend' as const), ...request, file: uint, size: uint }),
  fc.record({
    type: fc.constant('handover' as const),
    file: uint,
    page: fc.maxSafeNat().map((page) => Math.max(0, page - 256)),
    from: uint,
    fromEpoch: uint,
    to: uint,
    pages: fc.array(fc.option(fc.record({ seq: uint, bytes }), { nil: undefined }), { maxLength: 4 }),
    at
  }),
  fc.record({
    type: fc.constant('writeback' as const),
    session: uint,
    pages: fc.array(fc.record({ file: uint, page: uint, epoch: uint, seq: uint, bytes }), { maxLength: 16 }),
    at
  })
)

describe('command codec', () => {
  it('the command codec decodes the same command that it encoded', () => {
    fc.assert(
      fc.property(anyCommand, (command) => {
        const decoded = decodeCommand(encodeCommand(command))
        // The encoded bytes are compared too, because NaN and -0 must survive.
        expect(decoded.command).toEqual(command)
        expect(encodeCommand(decoded.command)).toEqual(encodeCommand(command))
      })
    )
  })

  it('the command codec throws CodecError for a prefix of a command, and decodes or throws a typed error for changed bytes', () => {
    fc.assert(
      fc.property(anyCommand, fc.nat(), fc.nat(), fc.nat(255), (command, cut, position, value) => {
        const encoded = encodeCommand(command)
        expect(() => decodeCommand(encoded.subarray(0, cut % encoded.length))).toThrow(CodecError)
        const changed = encoded.slice()
        changed[position % changed.length] = value
        expectTyped(() => decodeCommand(changed))
      })
    )
  })

  it('the command codec decodes or refuses random bytes, without allocating the lengths that they claim', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (random) => expectTyped(() => decodeCommand(random))),
      { numRuns: 2000 }
    )
    // A writeback that claims sixteen pages of the largest size in a few bytes.
    const claimed = new Uint8Array([1, 21, 1, 16, 1, 1, 1, 1, ...[0x80, 0x80, 0x04]])
    expect(() => decodeCommand(claimed)).toThrow(CodecError)
    expect(claimed.length).toBeLessThan(MAX_PAGE_BYTES)
  })

  it('the state machine applies each command that decodes', () => {
    fc.assert(
      fc.property(fc.array(anyCommand, { maxLength: 20 }), (commands) => {
        const machine = createStateMachine(memoryStore(), undefined, MAX_RELEASED)
        for (const [i, command] of commands.entries())
          expect(machine.apply(i + 1, 'normal', encodeCommand(command))).toBeDefined()
        expect(machine.digest()).toHaveLength(16)
      })
    )
  })
})

function expectTyped(run: () => void): void {
  try {
    run()
  } catch (error) {
    if (!(error instanceof CodecError) && !(error instanceof QuireError)) throw error
  }
}

/** What a state machine knows without its pages. */
function recordsOf(machine: StateMachine): unknown {
  const { appliedIndex, config, founding } = machine
  const files = machine.list('/', '', 1000)
  const owners = files.flatMap(({ id, size, pageSize }) =>
    Array.from({ length: Math.ceil(size / pageSize) }, (_, page) => machine.owner(id, page))
  )
  return {
    appliedIndex,
    config,
    founding,
    files,
    // A file's id is the index of an entry.
    byId: Array.from({ length: 200 }, (_, id) => machine.file(id)),
    owners,
    owned: machine.ownedPages(),
    sessions: [...machine.sessions()]
  }
}
