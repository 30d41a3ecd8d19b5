/** What put and get leave behind when they are killed, and how they replace files. */
import { crc32c } from '@node-rs/crc32'
import { createDsmClient } from '@quire/dsm-client'
import { generatePrivateKey, peerIdFromKey } from '@quire/net'
import { execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync
} from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { replaceLocal } from '../src/replacement.js'
import { fileSource, streamSource, upload, verify } from '../src/transfer.js'
import { createPeer, type Peer } from '@quire/store'
import { createLmdbBackend, createPageStore } from '../../store/src/pages/index.js'
import { INIT, quire, startQuire, type Finished } from './support/quire.js'

const SLOW = 60_000
const waitMs = { timeout: 30_000, interval: 20 }
const BIN = fileURLToPath(new URL('../bin/quire.js', import.meta.url))
const isRoot = process.getuid?.() === 0
const NOBODY = 65_534
/** A test gets a disk of a chosen size by mounting a file system in memory, which only root may do. */
const canMount = isRoot && process.platform === 'linux'

let cluster: string
let peer: Peer
let env: Record<string, string>
let root: string

beforeAll(async () => {
  cluster = mkdtempSync(join(tmpdir(), 'quire-copies-peer-'))
  const privateKey = await generatePrivateKey()
  const voters = [{ peerId: peerIdFromKey(privateKey), addresses: ['/ip4/127.0.0.1/tcp/1'] }]
  peer = await createPeer({
    dataDir: join(cluster, 'data'),
    privateKey,
    listen: ['/ip4/127.0.0.1/tcp/0'],
    cluster: { clusterId: 'blue', voters, admins: [], clients: 'any' }
  })
  await vi.waitFor(() => expect(peer.status().role).toBe('leader'), waitMs)
  env = { QUIRE_PEERS: peer.multiaddrs[0]! }
}, SLOW)

afterAll(async () => {
  await peer.close()
  rmSync(cluster, { recursive: true, force: true })
})

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'quire-copies-'))
})

afterEach(() => {
  rmSync(root, { recursive: true, force: true })
})

const run = (...args: string[]): Promise<Finished> => quire(args, { env })
const done: Finished = { status: 0, stdout: '', stderr: '' }
const modeOf = (path: string): number => statSync(path).mode & 0o7777

async function kill({ child }: ReturnType<typeof startQuire>): Promise<void> {
  const exited = once(child, 'exit')
  child.kill('SIGKILL')
  await exited
}

async function stored(path: string, bytes: Uint8Array): Promise<void> {
  const local = join(root, 'stored')
  writeFileSync(local, bytes)
  expect(await run('put', local, path)).toEqual(done)
  rmSync(local)
}

/** Counts the pages on disk by file. The peer must be closed. */
function pagesOnDisk(): Map<string, number> {
  const backend = createLmdbBackend({ path: join(cluster, 'data/pages/pages.lmdb') })
  const store = createPageStore({ backend })
  const found = new Map<string, number>()
  const files = [...store.restored.records].flatMap((record) => (record.kind === 'file' ? record.value : []))
  for (let id = 1; id <= store.restored.appliedIndex; id++) {
    const pages = [...store.pages(id)].length
    if (pages > 0) found.set(files.find((file) => file.id === id)?.path ?? `file ${id}, which is gone`, pages)
  }
  return found
}

describe('get', () => {
  it(
    'get leaves, when killed, the target unchanged and a private temporary file that blocks no later get',
    async () => {
      const bytes = randomBytes(32 * 1024 * 1024)
      await stored('/large', bytes)
      const target = join(root, 'target')
      writeFileSync(target, 'old')
      chmodSync(target, 0o600)
      const leftovers = (): string[] => readdirSync(root).filter((name) => name !== 'target')
      const get = startQuire(['get', '/large', target], { env })
      const sizes = (): number[] => leftovers().map((name) => statSync(join(root, name)).size)
      await vi.waitFor(() => expect(Math.max(...sizes())).toBeGreaterThan(0), waitMs)
      await kill(get)
      expect(readFileSync(target, 'utf8')).toBe('old')
      const [leftover] = leftovers()
      expect(leftover).toMatch(/^\.quire-[0-9a-f]{16}\.part$/)
      expect(modeOf(join(root, leftover!))).toBe(0o600)
      expect(await run('get', '/large', target)).toEqual(done)
      expect(readFileSync(target).equals(bytes)).toBe(true)
      expect([modeOf(target), leftovers()]).toEqual([0o600, [leftover]])
    },
    SLOW
  )

  it.each([
    ['600', '600'],
    ['444', '444'],
    ['640', '640'],
    ['755', '755'],
    ['4750', '750']
  ])('get replaces a file of mode %s by a file that has mode %s before its first byte', async (...modes) => {
    const [before, after] = modes.map((mode) => parseInt(mode, 8)) as [number, number]
    const target = join(root, 'target')
    writeFileSync(target, 'old')
    chmodSync(target, before)
    const replacement = await replaceLocal(target)
    expect((await replacement.handle.stat()).mode & 0o7777).toBe(after)
    await replacement.handle.write('new')
    await replacement.commit()
    await replacement.close()
    expect([modeOf(target), readFileSync(target, 'utf8'), readdirSync(root)]).toEqual([after, 'new', ['target']])
  })

  it(
    'get creates a new file with the mode that the umask permits',
    async () => {
      await stored('/small', randomBytes(5000))
      const target = join(root, 'new')
      const shell = ['-c', 'umask 027; exec "$@"', 'sh', process.execPath, BIN, 'get', '/small', target]
      const [status] = await once(spawn('sh', shell, { env: { ...process.env, ...env }, stdio: 'ignore' }), 'exit')
      expect([status, modeOf(target)]).toEqual([0, 0o640])
    },
    SLOW
  )

  it.runIf(isRoot)(
    'get keeps owner and group if permitted, and gives another group no more permissions than others have',
    async () => {
      await stored('/small', randomBytes(5000))
      const target = join(root, 'owned')
      writeFileSync(target, 'old')
      chownSync(target, 1234, 4321)
      chmodSync(target, 0o640)
      expect(await run('get', '/small', target)).toEqual(done)
      expect(statSync(target)).toMatchObject({ uid: 1234, gid: 4321, size: 5000 })
      expect(modeOf(target)).toBe(0o640)
      // This user owns the folder, but not the file, and is not in the file's group.
      const folder = join(root, 'folder')
      mkdirSync(folder)
      const other = join(folder, 'other')
      writeFileSync(other, 'old')
      chownSync(other, 1234, 4321)
      chmodSync(other, 0o664)
      for (const path of [root, folder]) chownSync(path, NOBODY, NOBODY)
      const [seteuid, setegid] = [process.seteuid!, process.setegid!]
      const groups = process.getgroups!()
      process.setgroups!([])
      setegid(NOBODY)
      seteuid(NOBODY)
      try {
        const replacement = await replaceLocal(other)
        await replacement.handle.write('new')
        await replacement.commit()
        await replacement.close()
      } finally {
        seteuid(0)
        setegid(0)
        process.setgroups!(groups)
      }
      expect(statSync(other)).toMatchObject({ uid: NOBODY, gid: NOBODY })
      expect([modeOf(other), readFileSync(other, 'utf8')]).toEqual([0o644, 'new'])
    },
    SLOW
  )

  it(
    'get accepts names as long as the file system does, as keygen and init do, and refuses a longer one at once',
    async () => {
      const bytes = randomBytes(5000)
      await stored('/small', bytes)
      for (const name of ['n'.repeat(250), 'n'.repeat(255), 'é'.repeat(127)]) {
        expect(await run('get', '/small', join(root, name))).toEqual(done)
        expect(readFileSync(join(root, name)).equals(bytes)).toBe(true)
      }
      const [key, config, long] = ['k', 'c', 'l'].map((letter) => join(root, letter.repeat(255))) as [
        string,
        string,
        string
      ]
      expect(await run('keygen', key)).toMatchObject({ status: 0, stderr: '' })
      const voter = `/ip4/192.0.2.1/tcp/4001/p2p/${(await generatePrivateKey()).publicKey.toString()}`
      const init = [...INIT, '--voters', voter, '--clients', 'any', '--out', config]
      expect(await run(...init)).toMatchObject({ status: 0, stderr: '' })
      const before = readdirSync(root)
      expect(before).toHaveLength(5)
      expect(await run('get', '/small', `${long}l`)).toMatchObject({
        status: 1,
        stderr: `quire: ${long}l: cannot be written (ENAMETOOLONG)\n`
      })
      expect(readdirSync(root)).toEqual(before)
    },
    SLOW
  )

  it.skipIf(!canMount)(
    'get names its target when the disk becomes full, and keeps the old file (needs root to mount)',
    async () => {
      await stored('/large', randomBytes(1_000_003))
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', root])
      try {
        const target = join(root, 'target')
        writeFileSync(target, 'old')
        expect(await run('get', '/large', target)).toEqual({
          status: 1,
          stdout: '',
          stderr: `quire: ${target}: cannot be written (ENOSPC)\n`
        })
        expect(readFileSync(target, 'utf8')).toBe('old')
        expect(readdirSync(root)).toEqual(['target'])
        fillDisk(root)
        const [key, config] = [join(root, 'key'), join(root, 'config')]
        expect(await run('keygen', key)).toMatchObject({ status: 1, stderr: expect.stringContaining(key) as string })
        const voter = `/ip4/192.0.2.1/tcp/4001/p2p/${(await generatePrivateKey()).publicKey.toString()}`
        const init = [...INIT, '--voters', voter, '--clients', 'any', '--out', config]
        expect(await run(...init)).toMatchObject({ status: 1, stderr: expect.stringContaining(config) as string })
        expect(readdirSync(root).sort()).toEqual(['filler', 'target'])
      } finally {
        execFileSync('umount', ['-l', root])
      }
    },
    SLOW
  )
})

/** Fills the file system of `folder`. */
function fillDisk(folder: string): void {
  const file = openSync(join(folder, 'filler'), 'w')
  try {
    for (const bytes = new Uint8Array(4096); ;) writeSync(file, bytes)
  } catch (error) {
    expect(error).toMatchObject({ code: 'ENOSPC' })
  } finally {
    closeSync(file)
  }
}

describe('put', () => {
  it('put verifies what the leader has stored, and no bytes travel for it', async () => {
    // Six parts, the last one short.
    const size = 5 * 1024 * 1024 + 1003
    await using client = await createDsmClient({ peers: [env.QUIRE_PEERS!] })
    const local = join(root, 'local')
    writeFileSync(local, randomBytes(size))
    await using source = await open(local)
    const progress = { add: () => {}, stop: () => {} }
    const file = await client.createUnnamed({ size })
    const sent = await upload(fileSource(local, source, size), file, progress)
    const before = client.stats().bytesIn
    await verify(file, sent, progress)
    expect(client.stats().bytesIn).toBe(before)
    expect(await file.checksum(0, size)).toBe(crc32c(readFileSync(local)))
    const bad = 2 * 1024 * 1024 + 7
    await file.write(bad, Uint8Array.of(~(await file.read(bad, 1))[0]!))
    // Only what is flushed counts.
    await verify(file, sent, progress)
    await file.sync()
    const part = { begin: 2 * 1024 * 1024, end: 3 * 1024 * 1024 }
    await expect(verify(file, sent, progress)).rejects.toMatchObject({ code: 'ERR_CHECKSUM', ...part })
  })

  it('put names its input when the input fails or closes before its end', async () => {
    await using client = await createDsmClient({ peers: [env.QUIRE_PEERS!] })
    const file = await client.createUnnamed({ size: 0 })
    for (const [problem, code] of [
      [Object.assign(new Error('broken'), { code: 'EIO' }), 'EIO'],
      [undefined, 'ERR_STREAM_PREMATURE_CLOSE']
    ] as const) {
      const stream = new Readable({ read: () => {} })
      stream.push(new Uint8Array(200_000))
      setImmediate(() => stream.destroy(problem))
      const sent = upload(streamSource('the input', stream), file, { add: () => {}, stop: () => {} })
      await expect(sent).rejects.toThrow(`the input: cannot be read (${code})`)
    }
  })

  it(
    'put leaves, when killed, neither a path nor bytes, and keeps the file under the path',
    async () => {
      const large = join(root, 'large')
      writeFileSync(large, randomBytes(16 * 1024 * 1024))
      await stored('/kept', randomBytes(5000))
      const listed = (await run('ls')).stdout
      const put = startQuire(['put', large, '/kept'], { env })
      await vi.waitFor(() => expect(peer.status().ownedPages).toBeGreaterThan(100), waitMs)
      await kill(put)
      expect((await run('ls')).stdout).toBe(listed)
      // The session of the killed client expires.
      await vi.waitFor(() => expect([peer.status().sessions, peer.status().ownedPages]).toEqual([0, 0]), waitMs)
      expect((await run('ls')).stdout).toBe(listed)
      expect(JSON.parse((await run('stat', '/kept', '--json')).stdout)).toMatchObject({ size: 5000 })
      await peer.close()
      const pages = pagesOnDisk()
      expect(pages.get('/kept')).toBe(2)
      expect([...pages.keys()].toSorted()).toEqual(listed.trim().split('\n'))
    },
    SLOW
  )
})
