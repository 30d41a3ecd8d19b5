/** Proves the compliance suite: each of its tests fails on a backend that breaks the test's rule. */
import { CorruptionError } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { testBackend, type BackendAdapter } from '../src/backend-compliance/index.js'
import {
  BACKEND_TABLES,
  createMemoryStorage,
  type Backend,
  type BackendChange,
  type BackendTable,
  type BackendUsage,
  type BackendView,
  type MemoryStorage
} from '../src/pages/index.js'
import { memoryBackend } from './support/backend-adapters.js'

type Adapter = BackendAdapter<MemoryStorage>

interface Defect {
  /** What the backend does wrong. */
  readonly defect: string
  /** The test of the suite that fails on it. */
  readonly test: string
  /** Breaks a sound backend. */
  readonly breakBackend?: (sound: Backend) => Partial<Backend>
  /** Breaks what happens when the backend is opened, or what the disk does. */
  readonly breakAdapter?: Partial<Adapter>
}

const NO_ROWS = 'a backend has no rows before the first commit'
const TABLES = 'a backend keeps rows with the same key apart by table'
const VALUES = 'a backend returns values of 1 byte to 64 KiB unchanged'
const PREFIX = 'a backend finds the rows with a prefix, in the order of the bytes of their keys'
const RANGE = 'a backend lists keys from the first up to but without the end, in the order of their bytes'
const LIMIT = 'a backend lists the smallest keys of a range that has more than the limit'
const COPIES = 'a backend returns keys as copies, which later calls do not change'
const CLOSED = 'a backend throws ClosedError from each read from the call of close on'
const SHOWN = 'a backend shows each commit when it resolves, in the order of the commits'
const SAME_ROW = 'a backend applies several changes of one row in the order in which the commit names them'
const REMOVES = 'a backend removes rows, and ignores the removal of a row that is not there'
const ARRAYS = 'a backend keeps its rows when the caller overwrites the arrays of a commit that has resolved'
const RESTART = 'a backend keeps its rows when it is closed and opened again'
const THROWS = 'a backend commits no row and rejects with the error when the iteration of the changes throws'
const AGAIN = 'a backend commits again after a commit that it rejected'
const OLD_OR_NEW = 'a backend reads each row as it was or as it becomes while a commit runs'
const UNTOUCHED = 'a backend reads and lists the rows that a running commit does not change'
const LOOK_UP = 'a backend removes a range whose keys the commit looks up while it runs'
const REWRITTEN = 'a backend keeps the rows that a commit writes into a range after it removed the range'
const VIEW = 'a view shows the rows of the last commit before it, whatever is committed later'
const VIEW_WHOLE = 'a view shows no row of a commit that has not ended when the view is read'
const VIEW_FROM = 'a view finds the rows from a key on, in the order of the bytes of their keys'
const VIEW_CLOSED = "a view throws ClosedError from each read from its close on, or its backend's"
const USAGE = 'a backend reports the bytes that its rows take, and those of its file'
const HELD = 'a view holds back the space of rows that change, and a backend reuses it afterwards'
const ADOPTED = 'incoming rows are apart from the rows in use, and take their place when they are adopted'
const DROPPED = 'incoming rows that were not adopted are gone when others come, and when the storage is opened again'
const ADOPTION = 'a crash during an adoption leaves the former rows in use, or all incoming rows'
const DURABLE = 'a backend keeps a commit that has resolved when the process crashes'
const WHOLE = 'a backend keeps a commit in all tables or in none when the process crashes while it runs'
const FULL = 'a backend rejects a commit with a NoSpaceError that names the file when the disk is full'
const FULL_READS = 'a backend serves reads on a full disk, and takes the same commit when there is room again'
const FAILED = 'a backend rejects a commit that the disk fails with an error that names the file'
const DAMAGED = 'a backend returns a damaged value or throws a CorruptionError, but does not omit the row'
const REPLACED = 'a backend refuses a storage that it did not write, and names the file and the remedy'

const DEFECTS: readonly Defect[] = [
  {
    defect: 'returns an empty value where there is no row',
    test: NO_ROWS,
    breakBackend: (sound) => ({ get: (table, key) => sound.get(table, key) ?? new Uint8Array(0) })
  },
  {
    defect: 'looks keys up in one table for all',
    test: TABLES,
    breakBackend: (sound) => ({ keys: (_, first, end, limit) => sound.keys('records', first, end, limit) })
  },
  {
    defect: 'cuts values off at 4,096 bytes',
    test: VALUES,
    breakBackend: (sound) => ({ get: (table, key) => sound.get(table, key)?.subarray(0, 4096) })
  },
  {
    defect: 'orders bytes as signed numbers',
    test: PREFIX,
    breakBackend: (sound) => ({
      entries: (table, prefix) =>
        [...sound.entries(table, prefix)].sort(([a], [b]) => Buffer.compare(a.map(signed), b.map(signed)))
    })
  },
  {
    defect: 'goes on to the end of the table after the rows with the prefix',
    test: PREFIX,
    breakBackend: (sound) => ({ entries: (table, prefix) => rowsFrom(sound, table, prefix) })
  },
  {
    defect: 'includes the end of a range',
    test: RANGE,
    breakBackend: (sound) => ({
      keys: (table, first, end, limit) => sound.keys(table, first, Uint8Array.of(...end, 0), limit)
    })
  },
  {
    defect: 'omits the first key of a range',
    test: RANGE,
    breakBackend: (sound) => ({
      keys: (table, first, end, limit) => sound.keys(table, Uint8Array.of(...first, 0), end, limit)
    })
  },
  {
    defect: 'lists all keys of a range at once',
    test: LIMIT,
    breakBackend: (sound) => ({ keys: (table, first, end) => sound.keys(table, first, end, Infinity) })
  },
  {
    defect: 'lists the largest keys of a range',
    test: LIMIT,
    breakBackend: (sound) => ({
      keys: (table, first, end, limit) => sound.keys(table, first, end, Infinity).slice(-limit)
    })
  },
  { defect: 'lends its keys for one call', test: COPIES, breakBackend: lendingKeys },
  { defect: 'serves reads after close', test: CLOSED, breakBackend: () => ({ close: () => Promise.resolve() }) },
  {
    defect: 'goes on with an iteration after close',
    test: CLOSED,
    breakBackend: (sound) => ({ entries: (table, prefix) => [...sound.entries(table, prefix)] })
  },
  {
    defect: 'refuses reads only when its close has ended',
    test: CLOSED,
    breakBackend: () => ({
      async close(this: Backend) {
        await Promise.resolve()
        await (Object.getPrototypeOf(this) as Backend).close.call(this)
      }
    })
  },
  {
    defect: 'ignores all but the first commit of a row',
    test: SHOWN,
    breakBackend: (sound) => ({
      commit: (changes) => sound.commit([...changes].filter(({ table, key }) => sound.get(table, key) === undefined))
    })
  },
  {
    defect: 'applies removals last',
    test: SAME_ROW,
    breakBackend: (sound) => ({
      commit: (changes) => sound.commit([...changes].sort((a, b) => Number(isRemoval(a)) - Number(isRemoval(b))))
    })
  },
  {
    defect: 'removes no row',
    test: REMOVES,
    breakBackend: (sound) => ({ commit: (changes) => sound.commit([...changes].filter((each) => !isRemoval(each))) })
  },
  {
    defect: 'rejects the removal of a row that is not there',
    test: REMOVES,
    breakBackend: (sound) => ({
      commit: async (changes) => {
        const list = [...changes]
        const missing = list.find(({ table, key }) => sound.get(table, key) === undefined)
        if (missing !== undefined && isRemoval(missing)) throw new Error('no such row')
        await sound.commit(list)
      }
    })
  },
  { defect: "keeps the caller's arrays", test: ARRAYS, breakBackend: keepingArrays },
  {
    defect: 'forgets its rows when it is closed',
    test: RESTART,
    breakAdapter: { open: (storage) => Object.assign(storage, memoryBackend.createStorage()).open() }
  },
  {
    defect: 'commits the rows before the change that failed',
    test: THROWS,
    breakBackend: (sound) => ({
      commit: async (changes) => {
        const list: BackendChange[] = []
        try {
          for (const change of changes) list.push(change)
        } finally {
          await sound.commit(list)
        }
      }
    })
  },
  {
    defect: 'throws the error of the iteration instead of rejecting with it',
    test: THROWS,
    breakBackend: (sound) => ({ commit: (changes) => sound.commit([...changes]) })
  },
  { defect: 'takes no commit after one that failed', test: AGAIN, breakBackend: failingForGood },
  {
    defect: 'hides the rows that a running commit writes',
    test: OLD_OR_NEW,
    breakBackend: (sound) => hiding(sound, 'bodies')
  },
  { defect: 'hides other rows while a commit runs', test: UNTOUCHED, breakBackend: (sound) => hiding(sound, 'heads') },
  { defect: 'lists only every other key while a commit runs', test: LOOK_UP, breakBackend: skippingKeys },
  {
    defect: 'removes the whole range when the commit ends',
    test: REWRITTEN,
    breakBackend: (sound) => ({
      commit: async (changes) => {
        const list = [...changes]
        await sound.commit(list)
        await sound.commit(list.filter(isRemoval))
      }
    })
  },
  {
    defect: 'shows the newest rows in each view',
    test: VIEW,
    breakBackend: (sound) => ({ view: () => ({ from: (table, first) => rowsFrom(sound, table, first), close() {} }) })
  },
  {
    defect: 'shows each table in a view as it is when the table is first read',
    test: VIEW,
    breakBackend: viewingTables
  },
  {
    defect: 'shows half of a commit in a view while the commit runs',
    test: VIEW_WHOLE,
    breakBackend: (sound) => ({
      commit: async (changes) => {
        const list = [...changes]
        await sound.commit(list.slice(0, list.length / 2))
        await sound.commit(list)
      }
    })
  },
  {
    defect: 'omits the first key of a view',
    test: VIEW_FROM,
    breakBackend: (sound) => viewing(sound, (view, table, first) => view.from(table, Uint8Array.of(...first, 0)))
  },
  {
    defect: 'takes the first key of a view for a prefix',
    test: VIEW_FROM,
    breakBackend: (sound) => ({
      view: () => ({ from: (table, first) => sound.entries(table, first), close() {} })
    })
  },
  {
    defect: 'serves reads of a closed view',
    test: VIEW_CLOSED,
    breakBackend: (sound) => ({
      view: () => {
        const view = sound.view()
        return { from: (table, first) => view.from(table, first), close() {} }
      }
    })
  },
  {
    defect: 'serves reads of a view when the backend is closed',
    test: VIEW_CLOSED,
    breakBackend: (sound) => viewing(sound, (view, table, first) => [...view.from(table, first)], true)
  },
  {
    defect: 'counts bytes that removed rows took as used',
    test: USAGE,
    breakBackend: (sound) => {
      let most = 0
      return { usage: () => ({ fileBytes: 1e9, usedBytes: (most = Math.max(most, sound.usage().usedBytes)) }) }
    }
  },
  {
    defect: 'leaves out of its size what views hold back',
    test: HELD,
    breakBackend: (sound) => {
      const usage = (): BackendUsage => ({ ...sound.usage(), fileBytes: sound.usage().usedBytes })
      return { usage }
    }
  },
  {
    defect: 'puts incoming rows among the rows in use',
    test: ADOPTED,
    breakAdapter: { openIncoming: (storage) => storage.open(), adoptIncoming: () => Promise.resolve() }
  },
  {
    defect: 'adds adopted rows to the former ones',
    test: ADOPTED,
    breakAdapter: {
      adoptIncoming: async (storage) => {
        const former = storage.copy().open()
        await storage.adoptIncoming()
        await storage.open().commit(changesOf(former))
      }
    }
  },
  {
    defect: 'keeps incoming rows that were not adopted',
    test: DROPPED,
    breakAdapter: keepingIncoming()
  },
  {
    defect: 'adopts incoming rows in two steps',
    test: ADOPTION,
    breakAdapter: {
      adoptIncoming: async (storage) => {
        const backend = storage.open()
        await backend.commit(changesOf(backend).map(({ table, key }) => ({ table, key, value: undefined })))
        await turns(20)
      }
    }
  },
  {
    defect: 'resolves before the adoption is on disk',
    test: ADOPTION,
    breakAdapter: {
      adoptIncoming: (storage) => {
        void storage.adoptIncoming()
        return Promise.resolve()
      }
    }
  },
  {
    defect: 'resolves before the rows are on disk',
    test: DURABLE,
    breakBackend: (sound) => ({
      commit: (changes) => {
        void sound.commit(changes)
        return Promise.resolve()
      }
    })
  },
  {
    defect: 'commits the tables one after the other',
    test: WHOLE,
    breakBackend: (sound) => ({
      commit: async (changes) => {
        const list = [...changes]
        for (const of of ['records', 'heads', 'bodies']) await sound.commit(list.filter(({ table }) => table === of))
      }
    })
  },
  {
    defect: "rejects with the system's error on a full disk",
    test: FULL,
    breakBackend: (sound) => ({
      commit: (changes) => sound.commit(changes).catch(() => Promise.reject(new Error(`ENOSPC: ${sound.name}`)))
    })
  },
  {
    defect: 'names no file on a full disk',
    test: FULL,
    breakBackend: () => ({ name: 'the file that the operator looks for' })
  },
  { defect: 'takes no commit after a full disk', test: FULL_READS, breakBackend: failingForGood },
  {
    defect: 'commits what it can on a full disk',
    test: FULL_READS,
    breakBackend: (sound) => {
      const written = new Map<string, Uint8Array | undefined>()
      return {
        entries: (table, prefix) =>
          [...sound.entries(table, prefix)].map(
            ([key, value]) => [key, written.get(`${table} ${key.join(' ')}`) ?? value] as const
          ),
        commit: (changes) => {
          const list = [...changes]
          return sound.commit(list).catch((error) => {
            for (const { table, key, value } of list) written.set(`${table} ${key.join(' ')}`, value)
            throw error
          })
        }
      }
    }
  },
  {
    defect: 'names no file when the disk fails',
    test: FAILED,
    breakBackend: (sound) => ({
      commit: (changes) => sound.commit(changes).catch(() => Promise.reject(new Error('EIO')))
    })
  },
  {
    defect: 'takes a disk that fails for a full one',
    test: FAILED,
    breakAdapter: { failWrites: (storage) => memoryBackend.setFull!(storage, true) }
  },
  { defect: 'omits damaged rows', test: DAMAGED, breakBackend: omittingDamage },
  {
    defect: 'throws an error of its own for a damaged row',
    test: DAMAGED,
    breakBackend: (sound) => ({
      get: () => {
        throw new Error(`${sound.name}: a bad row`)
      }
    })
  },
  {
    defect: 'takes any storage for its own',
    test: REPLACED,
    breakAdapter: { replace: (storage) => void Object.assign(storage, memoryBackend.createStorage()) }
  },
  {
    defect: 'names no remedy for a storage that it refuses',
    test: REPLACED,
    breakBackend: () => ({ remedy: 'restore the file' }),
    breakAdapter: refusing((name) => new CorruptionError(name, undefined, 'not a store'))
  },
  {
    defect: 'names no file for a storage that it refuses',
    test: REPLACED,
    breakAdapter: refusing(() => new CorruptionError('a file', undefined, 'not a store'))
  }
]

describe('the compliance suite of backends', () => {
  it.each(DEFECTS)(
    'the compliance suite catches a backend that $defect',
    async ({ test, breakBackend, breakAdapter }) => {
      const tests = testsOf(brokenAdapter(breakBackend, breakAdapter))
      await expect(tests.get(test)!()).rejects.toThrow()
    }
  )

  it('the compliance suite passes a sound backend behind the same wrapper', async () => {
    const reason = 'not a store'
    const refusal = refusing((name) => new CorruptionError(name, undefined, reason))
    for (const run of testsOf(brokenAdapter(undefined, refusal)).values()) await run()
  })

  it('each test of the compliance suite has a defect that it catches', () => {
    const everyHook: Adapter = { ...memoryBackend, replace: () => {} }
    expect([...new Set(DEFECTS.map(({ test }) => test))]).toEqual([...testsOf(everyHook).keys()])
  })
})

function brokenAdapter(
  breakBackend: ((sound: Backend) => Partial<Backend>) | undefined,
  breakAdapter: Partial<Adapter> | undefined
): Adapter {
  const adapter: Adapter = { ...memoryBackend, ...breakAdapter }
  return {
    ...adapter,
    open: async (storage) => {
      const sound = await adapter.open(storage)
      return Object.assign(Object.create(sound) as Backend, breakBackend?.(sound))
    }
  }
}

/** The tests that the suite declares for `adapter`, by name. */
function testsOf(adapter: Adapter): ReadonlyMap<string, () => Promise<void>> {
  const tests = new Map<string, () => Promise<void>>()
  const declare = (name: string, run: () => Promise<void>): void => void tests.set(name, run)
  testBackend({ describe: (_, define) => define(), it: Object.assign(declare, { skip: () => {} }) }, adapter)
  return tests
}

type From = (view: BackendView, table: BackendTable, first: Uint8Array) => ReturnType<BackendView['from']>

/** Reads views by `from`; `outlives`: from rows that were read when the view was made. */
function viewing(sound: Backend, from: From, outlives = false): Partial<Backend> {
  return {
    view: () => {
      const view = sound.view()
      const rows = new Map(BACKEND_TABLES.map((table) => [table, [...view.from(table, new Uint8Array(0))]]))
      let isOpen = true
      return {
        from: (table, first) => {
          if (!outlives) return from(view, table, first)
          if (!isOpen) return view.from(table, first)
          return rows.get(table)!.filter(([key]) => Buffer.compare(key, first) >= 0)
        },
        close: () => {
          isOpen = false
          view.close()
        }
      }
    }
  }
}

/** Copies a table only when it is first read. */
function viewingTables(sound: Backend): Partial<Backend> {
  return {
    view: () => {
      const tables = new Map<BackendTable, BackendView>()
      const of = (table: BackendTable): BackendView => {
        if (!tables.has(table)) tables.set(table, sound.view())
        return tables.get(table)!
      }
      return {
        from: (table, first) => of(table).from(table, first),
        close: () => tables.forEach((each) => each.close())
      }
    }
  }
}

function changesOf(backend: Backend): BackendChange[] {
  return BACKEND_TABLES.flatMap((table) =>
    [...backend.entries(table, new Uint8Array(0))].map(([key, value]) => ({ table, key, value }))
  )
}

/** Opens the same incoming rows again and again. */
function keepingIncoming(): Partial<Adapter> {
  const kept = new Map<MemoryStorage, MemoryStorage>()
  return {
    openIncoming: (storage) => {
      if (!kept.has(storage)) kept.set(storage, createMemoryStorage({ schedule: setImmediate }))
      return kept.get(storage)!.open()
    }
  }
}

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve))
}

/** A byte that orders as the signed number of the same bits. */
function signed(byte: number): number {
  return byte ^ 128
}

function isRemoval({ value }: BackendChange): boolean {
  return value === undefined
}

function* rowsFrom(sound: Backend, table: BackendTable, first: Uint8Array) {
  for (const row of sound.entries(table, new Uint8Array(0))) if (Buffer.compare(row[0], first) >= 0) yield row
}

function lendingKeys(sound: Backend): Partial<Backend> {
  const lent: Uint8Array[] = []
  return {
    keys: (table, first, end, limit) => {
      for (const key of lent.splice(0)) key.fill(0)
      lent.push(...sound.keys(table, first, end, limit))
      return [...lent]
    }
  }
}

function keepingArrays(sound: Backend): Partial<Backend> {
  const kept: BackendChange[] = []
  return {
    get: (table, key) => kept.find((each) => each.table === table && Buffer.compare(each.key, key) === 0)?.value,
    commit: async (changes) => {
      const list = [...changes]
      await sound.commit(list)
      kept.unshift(...list)
    }
  }
}

function failingForGood(sound: Backend): Partial<Backend> {
  let hasFailed = false
  return {
    commit: async (changes) => {
      if (hasFailed) throw new Error('an earlier commit failed')
      await sound.commit(changes).catch((error: unknown) => {
        hasFailed = true
        throw error
      })
    }
  }
}

/** Reads nothing from `hidden` while a commit runs. */
function hiding(sound: Backend, hidden: BackendTable): Partial<Backend> {
  let isRunning = false
  return {
    get: (table, key) => (isRunning && table === hidden ? undefined : sound.get(table, key)),
    commit: async (changes) => {
      isRunning = true
      await sound.commit(changes).finally(() => (isRunning = false))
    }
  }
}

function skippingKeys(sound: Backend): Partial<Backend> {
  let isRunning = false
  return {
    keys: (table, first, end, limit) =>
      sound.keys(table, first, end, limit).filter((_, at) => !isRunning || at % 2 === 0),
    commit: async (changes) => {
      isRunning = true
      await sound.commit(changes).finally(() => (isRunning = false))
    }
  }
}

/** Has a checksum of each value in memory, and passes over values that do not match. */
function omittingDamage(sound: Backend): Partial<Backend> {
  const isSound = (value: Uint8Array): boolean =>
    value.every((byte, at) => at === 0 || value.length < 100 || byte === ((value[0]! + at * 7 + (at >> 8)) & 255))
  return {
    get: (table, key) => {
      const value = sound.get(table, key)
      return value === undefined || !isSound(value) ? undefined : value
    },
    entries: (table, prefix) => [...sound.entries(table, prefix)].filter(([, value]) => isSound(value))
  }
}

/** Refuses a storage that was replaced with the error that `errorOf` makes from the backend's name. */
function refusing(errorOf: (name: string) => Error): Partial<Adapter> {
  const replaced = new Set<MemoryStorage>()
  return {
    replace: (storage) => void replaced.add(storage),
    open: (storage) => {
      const backend = storage.open()
      if (replaced.has(storage)) throw errorOf(backend.name)
      return backend
    }
  }
}
