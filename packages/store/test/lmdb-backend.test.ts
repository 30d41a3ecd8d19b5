import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { CorruptionError } from '@quire/protocol'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createApplier, createLmdbBackend, createPageStore, type Backend } from '../src/pages/index.js'
import { createStateMachine } from '../src/state/index.js'
import { choices, entriesFrom, filled, manualClock, memoryStore, PAGE, writebackLog } from './state-helpers.js'

let folder: string
const opened: Backend[] = []

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quire-store-'))
})

afterEach(async () => {
  for (const backend of opened.splice(0)) await backend.close()
  await rm(folder, { recursive: true, force: true })
})

function open(name = 'pages.lmdb', probe = true): Backend {
  const backend = createLmdbBackend({ path: join(folder, name), probe })
  opened.push(backend)
  return backend
}

describe('page stores on LMDB', () => {
  it('a page store on LMDB reads no page of a removed range, before and after the checkpoint that removes their rows', async () => {
    const store = createPageStore({ backend: open() })
    for (let page = 0; page < 1000; page++) store.write(1, page * 2, { version: 1, bytes: filled(1) })
    store.freeze(1)
    await store.flush()
    store.remove(1, 500, 2 ** 40)
    store.write(1, 600, { version: 2, bytes: filled(2) })
    store.freeze(2)
    const flushed = store.flush()
    expect([store.version(1, 498), store.version(1, 500), store.version(1, 600)]).toEqual([1, 0, 2])
    await flushed
    expect([store.version(1, 498), store.version(1, 500), store.version(1, 600)]).toEqual([1, 0, 2])
    expect([...store.pages(1)]).toHaveLength(251)
  })

  it('a page store on LMDB reads pages from buffers that LMDB lends for one read', async () => {
    const store = createPageStore({ backend: open() })
    const pages = [1, 2, 3].map((page) => ({ version: page, bytes: filled(page) }))
    for (const [page, stored] of pages.entries()) store.write(1, page, stored)
    store.freeze(3)
    await store.flush()
    expect(pages.map((_, page) => store.read(1, page))).toEqual(pages)
  })

  it('a page store on LMDB leaves turns of the event loop to other work while it writes a big checkpoint', async () => {
    const store = createPageStore({ backend: open(), maxMemtableBytes: 2 ** 30 })
    for (let page = 0; page < 3000; page++) store.write(1, page, { version: 1, bytes: filled(page) })
    store.freeze(1)
    let isDone = false
    const flushed = store.flush().then(() => (isDone = true))
    store.write(1, 5, { version: 2, bytes: filled(255) })
    let turns = 0
    while (!isDone) {
      await new Promise((resolve) => setImmediate(resolve))
      // The memtables and the open transaction give the same bytes.
      expect(store.read(1, 2999)?.bytes).toEqual(filled(2999))
      expect(store.read(1, 5)?.version).toBe(2)
      turns++
    }
    await flushed
    expect(turns).toBeGreaterThan(10)
    expect(store.read(1, 4)).toEqual({ version: 1, bytes: filled(4) })
  })

  it('a page store on LMDB takes less than 1.15 times the size of pages written in order (docs/storage.md)', async () => {
    const store = createPageStore({ backend: open() })
    const pages = 4096
    for (let page = 0; page < pages; page++) store.write(1, page, { version: 1, bytes: filled(page) })
    store.freeze(1)
    await store.flush()
    const { blocks } = await stat(join(folder, 'pages.lmdb'))
    expect((blocks * 512) / (pages * PAGE)).toBeLessThan(1.15)
  })

  it('a page store on LMDB restores the same state after each of several restarts', async () => {
    let run = 0
    await fc.assert(
      fc.asyncProperty(choices(80), fc.integer({ min: 5, max: 40 }), async (list, every) => {
        const entries = entriesFrom(list)
        const plain = createStateMachine(memoryStore())
        const name = `run-${run++}.lmdb`
        const start = () =>
          createApplier({ store: createPageStore({ backend: open(name, false) }), clock: manualClock() })
        let applier = start()
        for (const entry of entries) {
          plain.apply(entry.index, entry.kind, entry.data)
          await applier.apply([entry])
          if (entry.index % every > 0) continue
          await applier.close()
          applier = start()
        }
        expect(applier.state.digest()).toBe(plain.digest())
        await applier.close()
      }),
      { numRuns: 8 }
    )
  })

  it("a page store on LMDB refuses a file that is not LMDB's, and opens an empty one", async () => {
    const path = join(folder, 'pages.lmdb')
    await writeFile(path, filled(7, 8192))
    expect(() => open()).toThrow(CorruptionError)
    await truncate(path, 0)
    expect(createPageStore({ backend: open() }).durableIndex).toBe(0)
  })

  it('a page store on LMDB has at least the last durable checkpoint after kill -9', async () => {
    const entries = writebackLog(2000)
    const log = join(folder, 'log')
    await writeFile(log, entries.map(({ data }) => Buffer.from(data).toString('base64')).join('\n'))
    const script = fileURLToPath(new URL('lmdb-crash-child.mjs', import.meta.url))
    const child = spawn(process.execPath, [script, join(folder, 'pages.lmdb'), log], {
      stdio: ['ignore', 'pipe', 'inherit']
    })
    const exited = once(child, 'exit')
    let durable = 0
    try {
      for await (const line of createInterface(child.stdout)) {
        durable = Number(line)
        // In the middle of any commit.
        if (durable > 500) child.kill('SIGKILL')
      }
    } finally {
      child.kill('SIGKILL')
      await exited
    }
    expect(durable).toBeGreaterThan(500)
    const applier = createApplier({ store: createPageStore({ backend: open() }), clock: manualClock() })
    expect(applier.appliedIndex).toBeGreaterThanOrEqual(durable)
    const plain = createStateMachine(memoryStore())
    for (const { index, kind, data } of entries.slice(0, applier.appliedIndex)) plain.apply(index, kind, data)
    expect(applier.state.digest()).toBe(plain.digest())
  })
})
