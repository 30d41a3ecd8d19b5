/** Clients in a thread of their own (docs/threads.md), in real processes. */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { judge, type HistoryEvent } from '#linearizability'
import type { DsmClient, DsmFile, Mapping } from '@quire/dsm-client'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startCluster, until, type TestCluster } from './support/cluster.js'

const COMPUTING = fileURLToPath(new URL('./children/computing.mjs', import.meta.url))
const RENAMER = fileURLToPath(new URL('./children/renamer.mjs', import.meta.url))
const PAGE = 4096
const TTL_MS = 1000

let cluster: TestCluster

beforeAll(async () => {
  cluster = await startCluster()
})

afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]()
})

async function setUp(path: string, init: Parameters<TestCluster['client']>[0] = {}) {
  const client = await cluster.client({ thread: true, ...init })
  const file = await client.open(path, { create: true, size: 4 * PAGE })
  const mapping = await file.mmap()
  return { client, file, mapping, [Symbol.asyncDispose]: () => client.close().catch(() => {}) }
}

async function failure(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    () => Promise.reject(new Error('the call succeeded')),
    (error: Error) => error
  )
}

function thrown(call: () => unknown): Error {
  try {
    call()
  } catch (error) {
    return error as Error
  }
  throw new Error('the call succeeded')
}

describe('a program that computes without a turn of its event loop', () => {
  it('a program that computes keeps its session, and other clients get the pages that it has not pinned', async () => {
    const other = await cluster.client({ faultTimeoutMs: 2 * TTL_MS })
    const file = await other.open('/computing', { create: true, size: 4 * PAGE })
    const mapping = await file.mmap()
    const program = spawn(process.execPath, [COMPUTING, '/computing', String(TTL_MS), ...cluster.addresses], {
      stdio: ['ignore', 'pipe', 'inherit']
    })
    const exit = once(program, 'exit')
    const lines = createInterface({ input: program.stdout })[Symbol.asyncIterator]()
    try {
      expect((await lines.next()).value).toBe('computing')
      // Its pin keeps page 1, however long another client waits.
      const pinned = failure(mapping.read(PAGE, 1))
      expect(await mapping.read(0, 1)).toEqual(new Uint8Array([1]))
      await mapping.write(0, new Uint8Array([2]))
      expect((await pinned).name).toBe('BusyError')
      const report = JSON.parse(String((await lines.next()).value)) as Record<string, unknown>
      expect(report).toMatchObject({ state: 'active', isSame: true, wanted: true, ended: false })
      expect(report['count']).toBeGreaterThan(0)
      expect(report['counted']).toBe(report['count'])
      expect(await mapping.read(PAGE, 2)).toEqual(new Uint8Array([7, 7]))
      // A closed client leaves nothing that would keep its process.
      expect(await exit).toEqual([0, null])
    } finally {
      program.kill('SIGKILL')
    }
  })
})

describe('the calls of a client in a thread', () => {
  it('the calls of a client in a thread do what they do without one', async () => {
    await using here = await setUp('/calls')
    const { client, file, mapping } = here
    expect(client.session).toMatchObject({ state: 'active', ttlMs: 10_000 })
    expect([file.path, file.pageSize, mapping.offset, mapping.length]).toEqual(['/calls', PAGE, 0, 4 * PAGE])
    await mapping.write(1, Buffer.from([1, 2, 3]))
    expect(await mapping.read(0, 5)).toEqual(new Uint8Array([0, 1, 2, 3, 0]))
    const target = new Uint8Array(3)
    await mapping.readInto(1, target)
    expect([...target]).toEqual([1, 2, 3])
    await file.write(4 * PAGE, new Uint8Array([9]))
    expect((await file.stat()).size).toBe(4 * PAGE + 1)
    expect(await file.read(4 * PAGE, 10)).toEqual(new Uint8Array([9]))
    await file.sync()
    expect(await file.checksum(0, 4 * PAGE + 1)).toBeGreaterThan(0)
    await file.punchHole(0, PAGE)
    await file.truncate(2 * PAGE)
    expect(await mapping.read(0, 5)).toEqual(new Uint8Array(5))
    await mapping.msync(0, PAGE)
    await mapping.advise(0, 2 * PAGE, 'willneed')
    await file.addressSpace.writeMappingRange(0, 0)
    await file.addressSpace.evictMappingRange(0, 0)
    file.addressSpace.unmapMappingRange(0, 0)
    await using unnamed = await client.createUnnamed({ size: 10 })
    expect(unnamed.path).toBe('')
    await unnamed.link('/calls-named')
    expect(unnamed.path).toBe('/calls-named')
    await client.rename('/calls-named', '/calls-moved')
    expect((await client.stat('/calls-moved')).size).toBe(10)
    const listed: string[] = []
    for await (const { path, createdAt } of client.list('/calls')) {
      expect(createdAt).toBeInstanceOf(Date)
      listed.push(path)
    }
    expect(listed).toEqual(['/calls', '/calls-moved'])
    for await (const _ of client.list('/calls')) break
    await client.unlink('/calls-moved')
    await mapping.munmap()
    expect((await failure(mapping.read(0, 1))).name).toBe('ClosedError')
    const stats = client.stats()
    expect(stats.path).toBe('direct')
    expect(stats.grants).toBeGreaterThan(0)
    expect(stats.frameBytesCapacity).toBe(64 * 1024 * 1024)
    await file.close()
    expect(file.path).toBe('/calls')
    expect((await failure(file.read(0, 1))).name).toBe('ClosedError')
    await client.close()
    await client.close()
    expect(client.session.state).toBe('expired')
    expect(client.stats().grants).toBe(stats.grants)
    expect((await failure(client.open('/calls'))).name).toBe('ClosedError')
  })

  it('the calls of a client in a thread give the same errors', async () => {
    await using here = await setUp('/errors')
    const { client, file, mapping } = here
    const NoSuchFile = { name: 'NoSuchFileError', code: 'ERR_NO_ENTRY', path: '/absent' }
    expect(await failure(client.open('/absent'))).toMatchObject(NoSuchFile)
    expect((await failure(client.open('/absent'))).constructor.name).toBe('NoSuchFileError')
    const beyond = { name: 'InvalidArgumentError', argument: 'offset + length', value: 4 * PAGE + 1 }
    expect(await failure(mapping.read(4 * PAGE, 1))).toMatchObject(beyond)
    expect(thrown(() => mapping.tryRead(4 * PAGE, new Uint8Array(1)))).toMatchObject(beyond)
    expect(thrown(() => mapping.tryWrite(4 * PAGE, new Uint8Array(1)))).toMatchObject(beyond)
    const noBytes = { name: 'InvalidArgumentError', argument: 'bytes' }
    expect(await failure(mapping.write(0, 'text' as unknown as Uint8Array))).toMatchObject(noBytes)
    expect(thrown(() => mapping.tryWrite(0, 'text' as unknown as Uint8Array))).toMatchObject(noBytes)
    const noTarget = { name: 'InvalidArgumentError', argument: 'target' }
    expect(thrown(() => mapping.tryRead(0, 'text' as unknown as Uint8Array))).toMatchObject(noTarget)
    expect(await failure(client.open('/x', { nonsense: 1 } as object))).toMatchObject({ argument: 'open: nonsense' })
    expect(await failure(client.open('/x', 5 as unknown as object))).toMatchObject({ argument: 'open' })
    expect(await failure(client.stat((() => {}) as unknown as string))).toMatchObject({ name: 'InvalidArgumentError' })
    expect(thrown(() => file.addressSpace.unmapMappingRange(-1, 0))).toMatchObject({ argument: 'start' })
    const reading = await file.mmap({ prot: 'read' })
    expect(thrown(() => reading.tryWrite(0, new Uint8Array(1))).name).toBe('ReadOnlyMappingError')
    expect((await failure(reading.pin(0, 1, 'write'))).name).toBe('ReadOnlyMappingError')
    expect((await failure(cluster.client({ thread: 1 as unknown as boolean }))).name).toBe('InvalidArgumentError')
    expect((await failure(cluster.client({ thread: true, cluster: '0'.repeat(64) }))).name).toBe('NotAuthorizedError')
  })

  it('the calls of a client in a thread end with their signal', async () => {
    await using owner = await setUp('/signals')
    await using here = await setUp('/signals')
    using _ = await owner.mapping.pin(0, 1, 'write')
    const reason = new Error('enough')
    const controller = new AbortController()
    const waiting = failure(here.mapping.read(0, 1, { signal: controller.signal }))
    controller.abort(reason)
    expect(await waiting).toBe(reason)
    expect(await failure(here.mapping.read(0, 1, { signal: controller.signal }))).toBe(reason)
    expect(await failure(here.client.close({ signal: controller.signal }))).toBe(reason)
    expect(await failure(here.client.close({ signal: {} as AbortSignal }))).toMatchObject({ argument: 'signal' })
    expect(here.client.session.state).toBe('active')
    expect((await here.client.stat('/signals')).size).toBe(4 * PAGE)
  })

  it('the calls of a client in a thread pin shared memory, and use private mappings', async () => {
    await using here = await setUp('/pins')
    const { file, mapping } = here
    const pin = await mapping.pin(PAGE - 1, 2, 'write')
    expect(pin.bytes.buffer).toBeInstanceOf(SharedArrayBuffer)
    pin.bytes.set([5, 6])
    expect(pin.wanted).toBe(false)
    pin.release()
    pin.release()
    expect(await mapping.read(PAGE - 1, 2)).toEqual(new Uint8Array([5, 6]))
    const own = await file.mmap({ flags: 'private' })
    const target = new Uint8Array(1)
    expect(own.tryRead(PAGE, target)).toBe(true)
    expect([...target]).toEqual([6])
    await own.write(PAGE, new Uint8Array([8]))
    expect(own.tryWrite(PAGE + 1, new Uint8Array([9]))).toBe(true)
    expect(await own.read(PAGE, 2)).toEqual(new Uint8Array([8, 9]))
    expect(await mapping.read(PAGE, 2)).toEqual(new Uint8Array([6, 0]))
  })

  it('the calls of a client in a thread need no message for pages that the program has used', async () => {
    await using here = await setUp('/mapped')
    const { client, mapping } = here
    await mapping.write(0, new Uint8Array([1]))
    const { hits } = client.stats()
    for (let i = 0; i < 10; i++) {
      expect(mapping.tryWrite(0, new Uint8Array([i]))).toBe(true)
      expect(mapping.tryRead(0, new Uint8Array(1))).toBe(true)
    }
    expect(client.stats().hits).toBe(hits + 20)
    await mapping.msync()
    // The first write after a flush goes through the page table.
    expect(mapping.tryWrite(0, new Uint8Array([7]))).toBe(true)
    await mapping.msync()
    expect(await mapping.read(0, 1)).toEqual(new Uint8Array([7]))
  })
})

describe('the thread of a client', () => {
  it.each([
    ['in a file', ['--max-old-space-size=500', RENAMER]],
    ['in an argument', ['--input-type=module', '--eval', `await import(${JSON.stringify(RENAMER)})`]]
  ])('the thread of a client starts in a program %s, whatever the options of Node', async (_, args) => {
    const { stdout } = await promisify(execFile)(process.execPath, [...args, ...cluster.addresses])
    expect(stdout).toBe('NoSuchFileError\n')
  })
})

describe('a client in a thread tells its program', () => {
  it('a client in a thread tells its program of lost sessions, leaders, its history and its log', async () => {
    const lines: Record<string, unknown>[] = []
    const { pino } = await import('pino')
    const logger = pino({ level: 'info', base: null }, { write: (line) => lines.push(JSON.parse(line)) })
    const events: HistoryEvent[] = []
    await using here = await setUp('/told', { logger, history: (event) => events.push(event), sessionTtlMs: TTL_MS })
    const { client, mapping } = here
    const told: string[] = []
    client.addEventListener('sessionlost', ({ detail }) => told.push(`lost ${detail.lost.length}`))
    client.addEventListener('leaderchange', () => told.push('leader'))
    await mapping.write(0, new Uint8Array([1]))
    const pin = await mapping.pin(PAGE, 1, 'write')
    expect(mapping.tryWrite(0, new Uint8Array([2]))).toBe(true)
    const leader = await cluster.leader()
    await cluster.kill(leader)
    await mapping.msync()
    // A slow machine may need a second election.
    expect(new Set(told)).toEqual(new Set(['leader']))
    await cluster.restart(leader)
    await mapping.write(0, new Uint8Array([3]))
    for (const { pid } of cluster.peers) process.kill(pid, 'SIGSTOP')
    try {
      await until(() => client.session.state === 'suspect', 'the lease to run out')
      expect(mapping.tryRead(0, new Uint8Array(1))).toBe(false)
    } finally {
      for (const { pid } of cluster.peers) process.kill(pid, 'SIGCONT')
    }
    await mapping.read(0, 1).catch(() => {})
    pin.release()
    expect(lines.map(({ msg }) => msg)).toContain('session opened')
    expect(lines.every(({ time }) => typeof time === 'number')).toBe(true)
    const isTold = (op: string): boolean => events.some((event) => event.op === op)
    await until(() => ['write', 'exchange', 'sync', 'writeback'].every(isTold), 'the history')
    expect(events.filter(({ op }) => op === 'write').map(({ value }) => value)).toEqual(['01', '02', '03'])
  })
})

/** Reads and writes one word of each page in all ways, until enough operations are done. */
async function play({ mapping }: { mapping: Mapping }, client: number, operations: number): Promise<void> {
  const word = new Uint8Array(4)
  for (let i = 0; i < operations; i++) {
    const value = new Uint8Array(4)
    new DataView(value.buffer).setUint32(0, client * 100_000 + i + 1)
    const offset = (i % 2) * PAGE + 64
    const kind = (i * 7 + client) % 11
    if (kind < 3) await mapping.write(offset, value)
    else if (kind < 6) await mapping.read(offset, 4)
    else if (kind < 9) for (let n = 0; n < 3; n++) mapping.tryRead(offset, word)
    else if (kind < 10) mapping.tryWrite(offset, value)
    else {
      using pin = await mapping.pin(offset, 4, 'write')
      pin.bytes.set(value)
    }
  }
}

describe('clients in threads', () => {
  it('clients in threads, which read and write the same pages in all ways, leave a linearizable history', async () => {
    const events: HistoryEvent[] = []
    const history = (event: HistoryEvent): unknown => events.push(event)
    const all = await Promise.all([true, true, false].map((thread) => setUp('/shared-words', { thread, history })))
    await Promise.all(all.map((each, i) => play(each, i, 300)))
    await Promise.all(all.map(({ client }: { client: DsmClient; file: DsmFile }) => client.close()))
    const { findings, operations } = judge(events, { pageSize: PAGE, initialSize: () => 4 * PAGE })
    expect(findings).toEqual([])
    expect(operations).toBeGreaterThan(900)
  })
})
