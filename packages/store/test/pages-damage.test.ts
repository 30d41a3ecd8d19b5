import { createDsmClient } from '@quire/dsm-client'
import { generatePrivateKey, peerIdFromKey, savePrivateKey } from '@quire/net'
import { createRandomSource } from '@quire/testing'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, existsSync, openSync, writeSync } from 'node:fs'
import {
  mkdir,
  mkdtemp,
  open as openFile,
  readFile,
  rename,
  rm,
  stat,
  statfs,
  symlink,
  truncate,
  writeFile
} from 'node:fs/promises'
import { endianness, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { createPeer } from '../src/index.js'
import { createLmdbBackend, createPageStore, type Backend } from '../src/pages/index.js'
import { silenceCommits } from '../src/pages/lmdb-errors.js'
import { inspectLmdbFile } from '../src/pages/lmdb-file.js'
import { probeLmdbFile } from '../src/pages/lmdb-guard.js'
import { quire, startQuire, type Running } from '../../cli/test/support/quire.js'
import { filled, writebackLog } from './state-helpers.js'

const PAGE = 4096
/** Offset in a meta page of the number of the last page. */
const LAST_PAGE_AT = 144
/** Offset in a meta page of the number of the page that names the tables. */
const ROOT_AT = 136
const isLittle = endianness() === 'LE'

let folder: string
let path: string
const opened: Backend[] = []

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quire-pages-'))
  path = join(folder, 'pages.lmdb')
})

afterEach(async () => {
  for (const backend of opened.splice(0)) await backend.close()
  await rm(folder, { recursive: true, force: true })
})

function open(): Backend {
  const backend = createLmdbBackend({ path })
  opened.push(backend)
  return backend
}

/** Makes a closed store of some hundred pages, some of which it wrote and removed again. */
async function makeStore(): Promise<void> {
  const store = createPageStore({ backend: createLmdbBackend({ path }) })
  for (const index of [1, 2, 3]) {
    for (let page = 0; page < 300; page++) store.write(index, page, { version: index, bytes: filled(page) })
    store.remove(index, 250, 260)
    store.freeze(index)
    await store.flush()
  }
  await store.close()
}

async function overwrite(offset: number, bytes: Uint8Array): Promise<void> {
  const file = await openFile(path, 'r+')
  await file.write(bytes, 0, bytes.length, offset)
  await file.close()
}

const zeros = (length: number): Uint8Array => new Uint8Array(length)
const ones = (length: number): Uint8Array => new Uint8Array(length).fill(0xff)

/** Returns the numbers of the meta pages and of the pages of the trees. */
function treePages(bytes: Uint8Array): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const pages = Array.from({ length: Math.floor(bytes.length / PAGE) }, (_, page) => page)
  return pages.filter((page) => {
    const isTree = (view.getUint16(page * PAGE + 18, isLittle) & 3) !== 0
    return page < 2 || (isTree && view.getBigUint64(page * PAGE, isLittle) === BigInt(page))
  })
}

/** Returns one to four runs of bytes to put into some of `pages` of `sound`, most often where LMDB has numbers. */
function damageFrom(seed: number, sound: Uint8Array, pages: readonly number[]): { at: number; bytes: Uint8Array }[] {
  const view = new DataView(sound.buffer, sound.byteOffset, sound.length)
  const source = createRandomSource(seed)
  const below = (end: number): number => Math.floor(source.next() * end)
  return Array.from({ length: 1 + below(4) }, () => {
    const page = pages[below(pages.length)]! * PAGE
    const count = Math.floor(view.getUint16(page + 20, isLittle) / 2)
    const nodes = Array.from({ length: count }, (_, i) => 24 + view.getUint16(page + 24 + 2 * i, isLittle))
    // Half of the time the node at the end of the page, where a number that is too large leads out of the page.
    const node = below(2) === 0 ? Math.max(...nodes) : (nodes[below(count)] ?? 0)
    const isNode = page >= 2 * PAGE && below(3) > 0
    const start = isNode ? Math.min(node + below(8), PAGE - 1) : below(below(2) === 0 ? 200 : PAGE)
    const length = Math.min(below(2) === 0 ? 1 : 1 + below(40), PAGE - start)
    const bytes = Uint8Array.from({ length }, (_, i) => {
      const flipped = sound[page + start + i]! ^ (1 << below(8))
      return [flipped, 0xff, below(256)][below(3)]!
    })
    return { at: page + start, bytes }
  })
}

/** Ways to damage a file, and the reason that the refusal gives. */
const DAMAGES: Readonly<Record<string, readonly [(file: string, size: number) => Promise<void>, RegExp]>> = {
  'cut to 5,000 bytes': [(file) => truncate(file, 5000), /meta page 1|cut off/],
  'cut to 100 bytes': [(file) => truncate(file, 100), /ends in meta page 0/],
  'cut to half': [(file, size) => truncate(file, Math.floor(size / 2)), /cut off: it has \d+ of \d+ bytes/],
  'one page shorter': [(file, size) => truncate(file, size - PAGE), /cut off/],
  'with an early page overwritten': [
    () => overwrite(2 * PAGE, ones(8 * PAGE)),
    /page \d+ has the wrong number or type/
  ],
  'with an early page of zeros': [() => overwrite(2 * PAGE, zeros(8 * PAGE)), /page \d+ has the wrong number or type/],
  'with a first meta page of zeros': [() => overwrite(0, zeros(PAGE)), /does not begin like an LMDB file/],
  'with a second meta page of zeros': [() => overwrite(PAGE, zeros(PAGE)), /meta page 1 is damaged/],
  'with both meta pages broken': [() => overwrite(24, ones(2 * PAGE)), /does not begin like an LMDB file/],
  'with another file in its place': [(file) => writeFile(file, filled(7, 50_000)), /does not begin like an LMDB file/]
}

/** Checks for one line that names the file, the reason and the remedy. */
function expectLine(message: string, file: string, reason: RegExp): void {
  expect(message).toContain(file)
  expect(message).toMatch(reason)
  expect(message).toMatch(/move this file away and start the peer again/)
  expect(message).not.toContain('\n')
}

describe('createLmdbBackend on a damaged file', () => {
  it.each(Object.entries(DAMAGES))(
    'refuses a file %s in one line that names the file and the remedy',
    async (_, damage) => {
      await makeStore()
      const [break_, reason] = damage
      await break_(path, (await stat(path)).size)
      let failure: unknown
      try {
        open()
      } catch (error) {
        failure = error
      }
      expect(failure).toMatchObject({ name: 'CorruptionError', where: path })
      expectLine((failure as Error).message, path, reason)
    }
  )

  it('detects a file that is cut off by the SIGBUS that ends the probe process', async () => {
    await makeStore()
    await truncate(path, Math.floor((await stat(path)).size / 2))
    expect(() => probeLmdbFile(path)).toThrow(/SIGBUS ended a process that read it; move this file away/)
  })

  it('refuses a file that lacks any number of its last pages', async () => {
    await makeStore()
    expect(inspectLmdbFile(path, Infinity)).toBeUndefined()
    for (let pages = 1; pages <= 40; pages++) {
      await truncate(path, (await stat(path)).size - PAGE)
      expect(inspectLmdbFile(path)).toMatch(/cut off/)
    }
  })

  it('refuses a file that LMDB finds damaged, with its message or the signal that ended the probe', async () => {
    await makeStore()
    // Branches now name pages that no file has.
    await overwrite(2 * PAGE, ones((await stat(path)).size - 2 * PAGE))
    expect(() => probeLmdbFile(path)).toThrow(/LMDB says: MDB_|SIG\w+ ended a process/)
  })

  it('finds a file sound or gives a reason, whichever bytes of LMDB are overwritten, and never throws', async () => {
    await makeStore()
    const sound = await readFile(path)
    const pages = treePages(sound)
    expect(pages.length).toBeGreaterThan(20)
    const found = new Set<string>()
    const file = openSync(path, 'r+')
    onTestFinished(() => closeSync(file))
    for (let seed = 1; seed <= 2000; seed++) {
      const damage = damageFrom(seed, sound, pages)
      for (const { at, bytes } of damage) writeSync(file, bytes, 0, bytes.length, at)
      let problem: string | undefined
      expect(() => (problem = inspectLmdbFile(path, Infinity)), `seed ${seed}`).not.toThrow()
      for (const { at, bytes } of damage) writeSync(file, sound, at, bytes.length, at)
      found.add((problem ?? 'sound').replaceAll(/\d+/g, 'N'))
    }
    expect([...found]).toEqual(expect.arrayContaining(['sound', 'page N is damaged', 'meta page N is damaged']))
  }, 30_000)

  it('refuses a page with a node that ends before the tree that it names', async () => {
    await makeStore()
    const bytes = await readFile(path)
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    let shortened = 0
    for (const page of treePages(bytes)) {
      const isLeaf = (view.getUint16(page * PAGE + 18, isLittle) & 2) !== 0
      const nodes = isLeaf ? view.getUint16(page * PAGE + 20, isLittle) / 2 : 0
      for (let i = 0; i < nodes; i++) {
        const node = page * PAGE + 24 + view.getUint16(page * PAGE + 24 + 2 * i, isLittle)
        if ((view.getUint16(node + 4, isLittle) & 2) === 0) continue
        // The node moves to the end of its page.
        view.setUint16(page * PAGE + 24 + 2 * i, PAGE - 24 - 16, isLittle)
        bytes.copy(bytes, (page + 1) * PAGE - 16, node, node + 16)
        view.setUint16((page + 1) * PAGE - 16, 0, isLittle)
        shortened++
      }
    }
    expect(shortened).toBeGreaterThan(0)
    await writeFile(path, bytes)
    expect(inspectLmdbFile(path, Infinity)).toMatch(/^page \d+ is damaged$/)
  })

  it('refuses a page whose free room reaches beyond the page, because LMDB would write there', async () => {
    await makeStore()
    const sound = await readFile(path)
    const meta = new DataView(sound.buffer, sound.byteOffset)
    const newest = meta.getBigUint64(152, isLittle) > meta.getBigUint64(PAGE + 152, isLittle) ? 0 : PAGE
    const page = Number(meta.getBigUint64(newest + ROOT_AT, isLittle))
    for (const [at, value] of [
      [20, PAGE - 24 + 2],
      [22, PAGE - 24 + 2],
      [22, 0]
    ] as const) {
      const bytes = Buffer.from(sound)
      new DataView(bytes.buffer, bytes.byteOffset).setUint16(page * PAGE + at, value, isLittle)
      await writeFile(path, bytes)
      expect(inspectLmdbFile(path, Infinity), `${value} at ${at}`).toBe(`page ${page} is damaged`)
    }
  })

  /** Things that may stand in place of a file. */
  const OTHERS: Readonly<Record<string, (at: string) => unknown>> = {
    'a folder': (at) => mkdir(at),
    'a named pipe': (at) => execFileSync('mkfifo', [at]),
    'a device': (at) => symlink('/dev/null', at),
    'a symbolic link that leads nowhere': (at) => symlink(join(folder, 'nowhere'), at)
  }

  it.each(Object.entries(OTHERS))(
    'refuses %s in place of the file or the lock file, at once and in one line',
    async (what, make) => {
      await make(path)
      expect(() => open()).toThrow(expect.objectContaining({ name: 'CorruptionError', where: path }))
      expect(() => open()).toThrow(
        `${path}: damaged: ${what} stands in place of the file; move this file away and start`
      )
      await rm(path, { recursive: true })
      await makeStore()
      const lock = `${path}-lock`
      await rm(lock)
      await make(lock)
      const line = `${lock}: damaged: ${what} stands in place of the lock file; move it away and start the peer again`
      expect(() => open()).toThrow(line)
      await rm(lock, { recursive: true })
      expect(createPageStore({ backend: open() }).durableIndex).toBe(3)
    }
  )

  it('opens a symbolic link to a file', async () => {
    await makeStore()
    await rename(path, `${path}.elsewhere`)
    await symlink(`${path}.elsewhere`, path)
    expect(createPageStore({ backend: open() }).durableIndex).toBe(3)
  })

  it('lets a peer rebuild its pages from the log after the damaged file is moved away', async () => {
    const { args, address, ended } = await makePeer()
    await truncate(path, 5000)
    const refused = await quire(args)
    expect(refused.status).toBe(1)
    await rename(path, `${path}.damaged`)
    const peer = startQuire(args)
    try {
      await vi.waitFor(() => expect(peer.stdout).toContain('/p2p/'), { timeout: 20_000 })
      await using client = await createDsmClient({ peers: [address] })
      expect(await (await client.open('/kept')).read(0, 4)).toEqual(new TextEncoder().encode('kept'))
    } finally {
      await ended(peer)
    }
  })
})

describe('createLmdbBackend on a sound file', () => {
  it('opens a file after a kill at any moment of a commit', async () => {
    const log = join(folder, 'log')
    const entries = writebackLog(3000)
    await writeFile(log, entries.map(({ data }) => Buffer.from(data).toString('base64')).join('\n'))
    const script = fileURLToPath(new URL('lmdb-crash-child.mjs', import.meta.url))
    for (let round = 0; round < 6; round++) {
      const child = spawn(process.execPath, [script, path, log], { stdio: ['ignore', 'pipe', 'inherit'] })
      const exited = once(child, 'exit')
      let lines = 0
      child.stdout.on('data', (chunk: Buffer) => {
        lines += String(chunk).split('\n').length - 1
        if (lines > 3 + 7 * round) child.kill('SIGKILL')
      })
      await exited
      expect(inspectLmdbFile(path, Infinity)).toBeUndefined()
    }
    expect(createPageStore({ backend: open() }).durableIndex).toBeGreaterThan(0)
  })

  it('opens a file that is longer than its meta page says, or lacks last pages that LMDB never wrote', async () => {
    await makeStore()
    const { size } = await stat(path)
    await truncate(path, size + 100 * PAGE)
    expect(inspectLmdbFile(path)).toBeUndefined()
    // LMDB's documentation: "the file may be shorter if the freeDB lists the final pages".
    await truncate(path, size)
    for (const meta of [0, 1]) {
      const file = await readFile(path)
      const view = new DataView(file.buffer, file.byteOffset)
      const at = meta * PAGE + LAST_PAGE_AT
      view.setBigUint64(at, view.getBigUint64(at, isLittle) + 50n, isLittle)
      await writeFile(path, file)
    }
    expect(inspectLmdbFile(path)).toBeUndefined()
    const store = createPageStore({ backend: open() })
    expect(store.read(1, 299)?.bytes).toEqual(filled(299))
    store.write(1, 299, { version: 4, bytes: filled(4) })
    store.freeze(4)
    await store.flush()
  })

  it('opens an empty file, and a file of zeros as a power loss before the first flush leaves it', async () => {
    for (const length of [2 * PAGE, PAGE, 0]) {
      await writeFile(path, zeros(length))
      const store = createPageStore({ backend: open() })
      expect(store.durableIndex).toBe(0)
      await store.close()
      await rm(path)
    }
  })
})

describe('createLmdbBackend on a full disk', () => {
  /** `folder` becomes a file system in memory, which only root may mount. */
  const canMount = process.getuid?.() === 0 && process.platform === 'linux'
  const mount = (...options: string[]) => execFileSync('mount', ['-t', 'tmpfs', ...options, 'tmpfs', folder])

  /** Fills the disk up to `bytes` of free space. */
  async function fill(bytes = 0): Promise<void> {
    const { bsize, bavail } = await statfs(folder)
    await writeFile(join(folder, 'other files'), new Uint8Array(bavail * bsize - bytes))
  }

  async function makeStoreAndFill(freeBytes?: number): Promise<void> {
    mount('-o', 'size=16m')
    await makeStore()
    await rm(`${path}-lock`)
    await fill(freeBytes)
  }

  afterEach(() => {
    if (canMount) execFileSync('umount', ['-l', folder])
  })

  it.skipIf(!canMount).each([0, PAGE])(
    'throws NoSpaceError without room for a lock file (%i bytes free), and leaves no lock file behind',
    async (freeBytes) => {
      await makeStoreAndFill(freeBytes)
      // The second attempt would find a lock file that the first one left behind.
      for (let attempt = 0; attempt < 2; attempt++) {
        expect(() => open()).toThrow(expect.objectContaining({ name: 'NoSpaceError', where: `${path}-lock` }))
        expect(existsSync(`${path}-lock`)).toBe(false)
      }
      await rm(join(folder, 'other files'))
      const store = createPageStore({ backend: open() })
      expect(store.durableIndex).toBe(3)
    }
  )

  it.skipIf(!canMount)('throws NoSpaceError for a lock file with a hole that the disk cannot fill', async () => {
    await makeStoreAndFill()
    await writeFile(`${path}-lock`, '')
    await truncate(`${path}-lock`, 3 * PAGE)
    expect(() => open()).toThrow(expect.objectContaining({ name: 'NoSpaceError', where: `${path}-lock` }))
  })
})

describe('a page store that runs', () => {
  it('fails its next checkpoint if the file has shrunk, and names the file and the remedy', async () => {
    await makeStore()
    const store = createPageStore({ backend: open() })
    await truncate(path, (await stat(path)).size - 20 * PAGE)
    store.write(9, 1, { version: 1, bytes: filled(1) })
    store.freeze(4)
    const failure = await store.flush().catch((error: unknown) => error)
    expect(failure).toMatchObject({ name: 'CorruptionError', where: path })
    expectLine((failure as Error).message, path, /the file has shrunk from \d+ to \d+ bytes/)
  })

  it('fails its next checkpoint if the file is gone, and names the file and the remedy', async () => {
    await makeStore()
    const store = createPageStore({ backend: open() })
    await rm(path)
    store.write(9, 1, { version: 1, bytes: filled(1) })
    store.freeze(4)
    await expect(store.flush()).rejects.toThrow(/pages\.lmdb.*the file is gone \(ENOENT\); move/)
  })
})

describe('quire peer on a damaged pages.lmdb', () => {
  it.each(['cut to 5,000 bytes', 'cut to half', 'with an early page overwritten', 'with both meta pages broken'])(
    'ends with status 1 and one line for a file %s',
    async (kind) => {
      const { args } = await makePeer()
      const [break_, reason] = DAMAGES[kind]!
      await break_(path, (await stat(path)).size)
      const { status, stdout, stderr } = await quire(args)
      expect({ status, stdout }).toEqual({ status: 1, stdout: '' })
      expect(stderr.trimEnd().split('\n')).toHaveLength(1)
      expectLine(stderr.trimEnd(), path, reason)
    },
    20_000
  )
})

describe('quire peer that reads a damaged page', () => {
  it('logs the damage once, and ends with status 1 and one line that names file, page and remedy', async () => {
    const { args, address, ended } = await makePeer()
    const bytes = await readFile(path)
    const at = bytes.indexOf(filled(20).subarray(0, 256))
    expect(at).toBeGreaterThan(0)
    await overwrite(at + 100, ones(8))
    const peer = startQuire(args)
    try {
      await vi.waitFor(() => expect(peer.stdout).toContain('/p2p/'), { timeout: 20_000 })
      const client = await createDsmClient({ peers: [address], faultTimeoutMs: 5000 })
      const exited = once(peer.child, 'exit')
      const reading = (await client.open('/kept')).read(20 * PAGE, 4).catch(() => {})
      await exited
      await client.close({ signal: AbortSignal.timeout(100) }).catch(() => {})
      await reading
    } finally {
      if (peer.child.exitCode === null) await ended(peer)
    }
    expect(peer.child.exitCode).toBe(1)
    const lines = peer.stderr.trimEnd().split('\n')
    expectLine(lines.at(-1)!, path, /: damaged: page 20 of file \d+: the checksum of the page does not match; move/)
    const logged = lines.slice(0, -1).map((line) => JSON.parse(line) as { level: number })
    expect(logged.filter(({ level }) => level >= 50)).toHaveLength(1)
  }, 40_000)
})

describe('silenceCommits', () => {
  it('keeps lmdb from printing the error of a failed commit, and prints other errors', () => {
    const printed: unknown[] = []
    const print = vi.spyOn(console, 'error').mockImplementation((...what: unknown[]) => printed.push(...what))
    try {
      const env = {
        startWriting: (address: number, done: (status: number) => unknown) => done(address)
      }
      silenceCommits({ env })
      // Like lmdb, which prints the error and then rejects with it.
      const rejected: number[] = []
      env.startWriting(28, (status) => {
        console.error(new Error('No space left on device'))
        rejected.push(status)
      })
      expect({ printed, rejected }).toEqual({ printed: [], rejected: [28] })
      console.error('heard')
      expect(printed).toEqual(['heard'])
    } finally {
      print.mockRestore()
    }
  })
})

interface MadePeer {
  readonly args: string[]
  readonly address: string
  readonly ended: (running: Running) => Promise<void>
}

/** Stores a file in a peer and stops the peer. Sets `path` to its pages.lmdb. */
async function makePeer(): Promise<MadePeer> {
  const key = await generatePrivateKey()
  const dataDir = join(folder, 'data')
  await savePrivateKey(join(folder, 'key'), key)
  const voters = [{ peerId: peerIdFromKey(key), addresses: ['/ip4/127.0.0.1/tcp/1'] }]
  const cluster = { clusterId: 'blue', voters, admins: [], clients: 'any' as const }
  const peer = await createPeer({ dataDir, privateKey: key, listen: ['/ip4/127.0.0.1/tcp/0'], cluster })
  const [address] = peer.multiaddrs
  const client = await createDsmClient({ peers: [address!] })
  const file = await client.open('/kept', { create: true, size: 64 * PAGE })
  await file.write(0, new TextEncoder().encode('kept'))
  for (let page = 1; page < 64; page++) await file.write(page * PAGE, filled(page))
  await file.sync()
  await client.close()
  await peer.close()
  path = join(dataDir, 'pages', 'pages.lmdb')
  return {
    args: ['peer', '--data-dir', dataDir, '--key', join(folder, 'key'), '--listen', '/ip4/127.0.0.1/tcp/0'],
    address: address!,
    ended: async ({ child }) => {
      const exited = once(child, 'exit')
      child.kill('SIGKILL')
      await exited
    }
  }
}
