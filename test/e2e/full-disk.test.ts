import { execFileSync, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, open, rm, statfs, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePorts } from '@quire/cli/internal'
import { createDsmClient, type DsmClient } from '@quire/dsm-client'
import { afterEach, describe, expect, it } from 'vitest'
import { INIT, isAlive, quire, startQuire, type Running } from '../../packages/cli/test/support/quire.js'
import { until } from './support/cluster.js'

/** Most disks are file systems in memory, because a test can set their size. Only root may mount them. */
const canMount = process.getuid?.() === 0 && process.platform === 'linux'
/** A file system in a file. Containers may have no loop devices. */
const canLoop = canMount && existsSync('/dev/loop-control') && spawnSync('mkfs.ext4', ['-V']).status === 0
const MIB = 1024 * 1024
const FILL_TRIES = 20
const MAY_LAST_MS = 120_000

/** A peer with a disk of its own. */
class DiskPeer {
  running!: Running

  constructor(
    readonly id: string,
    readonly address: string,
    readonly disk: string,
    private readonly args: readonly string[]
  ) {}

  /** Listens at `listen` as well. */
  start(listen?: string): void {
    const more = listen === undefined ? [] : ['--listen', listen]
    this.running = startQuire(['peer', '--data-dir', join(this.disk, 'data'), ...this.args, ...more])
  }

  get isUp(): boolean {
    return isAlive(this.running.child.pid!) && this.running.child.exitCode === null
  }

  async kill(): Promise<void> {
    if (!this.isUp) return
    const exited = once(this.running.child, 'exit')
    this.running.child.kill('SIGKILL')
    await exited
  }

  /** Lines of its output that are not JSON. */
  get otherLines(): string[] {
    return this.running.stderr.split('\n').filter((line) => line !== '' && !line.startsWith('{'))
  }

  /** Leaves no room on a disk that has a fixed size. */
  async fillWithFile(): Promise<void> {
    const ballast = await open(this.ballast, 'w')
    const bytes = Buffer.alloc(64 * 1024)
    try {
      for (;;) await ballast.appendFile(bytes)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
    } finally {
      await ballast.close()
    }
  }

  async removeBallast(): Promise<void> {
    await rm(this.ballast)
  }

  private get ballast(): string {
    return join(this.disk, 'ballast')
  }

  resize(bytes: number): void {
    execFileSync('mount', ['-o', `remount,size=${bytes}`, this.disk])
  }

  /** Leaves no room on its disk. */
  async fill(): Promise<void> {
    for (let tries = 1; ; tries++) {
      const { bsize, blocks, bfree } = await statfs(this.disk)
      try {
        return this.resize((blocks - bfree) * bsize)
      } catch (error) {
        // The peer has stored more since the look, and no file system may be smaller than its content.
        if (tries === FILL_TRIES) throw error
      }
    }
  }

  /** Leaves no inode on its disk, so no folder can take a new file. */
  async useUpInodes(): Promise<void> {
    const { files, ffree } = await statfs(this.disk)
    execFileSync('mount', ['-o', `remount,nr_inodes=${files - ffree}`, this.disk])
    await expect(writeFile(join(this.disk, 'another'), '')).rejects.toMatchObject({ code: 'ENOSPC' })
  }
}

const undo: (() => unknown)[] = []
afterEach(async () => {
  for (const each of undo.splice(0).toReversed()) await each()
})

function mountMemory(disk: string): void {
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${512 * MIB}`, 'tmpfs', disk])
}

function mountExt4(disk: string): void {
  const image = `${disk}.img`
  execFileSync('truncate', ['-s', `${160 * MIB}`, image])
  // Without blocks that only root may use, which the peers of this test would.
  execFileSync('mkfs.ext4', ['-q', '-m', '0', image])
  execFileSync('mount', ['-o', 'loop', image, disk])
}

async function startPeers(mount = mountMemory): Promise<DiskPeer[]> {
  const folder = await mkdtemp(join(tmpdir(), 'quire-full-'))
  undo.push(() => rm(folder, { recursive: true, force: true }))
  const ports = await freePorts(3)
  const peers: DiskPeer[] = []
  for (const [i, port] of ports.entries()) {
    const key = join(folder, `key${i}`)
    const id = (await quire(['keygen', key])).stdout.trim()
    const disk = join(folder, `disk${i}`)
    await mkdir(disk)
    mount(disk)
    undo.push(() => execFileSync('umount', ['-l', disk]))
    const listen = `/ip4/127.0.0.1/tcp/${port}`
    const args = ['--key', key, '--listen', listen, '--cluster', join(folder, 'cluster.json')]
    peers.push(new DiskPeer(id, `${listen}/p2p/${id}`, disk, args))
  }
  const voters = peers.map(({ address }) => address)
  await quire([...INIT, '--out', join(folder, 'cluster.json'), '--clients', 'any', '--voters', ...voters])
  for (const peer of peers) {
    peer.start()
    undo.push(() => peer.kill())
  }
  return peers
}

interface Status {
  readonly id: string
  readonly role: string
  readonly term: number
  readonly lastIndex: number
  readonly appliedIndex: number
  readonly store?: { readonly usedBytes: number }
}

async function statuses(peers: readonly DiskPeer[]): Promise<Status[]> {
  const addresses = peers.map(({ address }) => address).join(',')
  const { stdout } = await quire(['status', '--json', '--peers', addresses])
  return stdout
    .trim()
    .split('\n')
    .flatMap((line) => (line === '' ? [] : [JSON.parse(line) as Status]))
}

/** A peer that does not answer has a row without a role. */
async function answers({ id, address }: DiskPeer): Promise<boolean> {
  const { stdout } = await quire(['status', '--json', '--peers', address])
  const rows = stdout
    .trim()
    .split('\n')
    .filter((line) => line !== '')
  return rows.map((line) => JSON.parse(line) as Partial<Status>).some((row) => row.id === id && row.role !== undefined)
}

async function leaderOf(peers: readonly DiskPeer[]): Promise<{ readonly leader: DiskPeer; readonly term: number }> {
  let found: Status | undefined
  await until(async () => {
    found = (await statuses(peers)).find(({ role }) => role === 'leader')
    return found !== undefined
  }, 'a leader')
  return { leader: peers.find(({ id }) => id === found!.id)!, term: found!.term }
}

/**
 * Waits until the peers have taken so much into their files of pages. A disk that is filled while LMDB writes makes it
 * print a line of its own (docs/storage.md, Checkpoints).
 */
async function checkpointed(peers: readonly DiskPeer[], megabytes: number): Promise<void> {
  await until(async () => {
    const all = await statuses(peers)
    return all.length === peers.length && all.every(({ store }) => (store?.usedBytes ?? 0) >= megabytes * MIB)
  }, 'the pages to be in the files')
}

/** A client that ends with the test. */
async function connect(peers: readonly DiskPeer[]): Promise<DsmClient> {
  const client = await createDsmClient({ peers: peers.map(({ address }) => address) })
  undo.push(() => client.close({ signal: AbortSignal.timeout(2000) }).catch(() => {}))
  return client
}

async function haveTheSame(peers: readonly DiskPeer[]): Promise<void> {
  await until(async () => {
    const [first, ...rest] = await statuses(peers)
    return rest.length === 2 && rest.every(({ appliedIndex }) => appliedIndex === first!.lastIndex)
  }, 'all to have the same')
}

/** Writes `megabytes` durably, and reads some of it back. */
async function write(client: DsmClient, path: string, megabytes: number): Promise<void> {
  const file = await client.open(path, { create: true, size: megabytes * MIB })
  const bytes = new Uint8Array(MIB)
  for (let at = 0; at < megabytes; at++) {
    await file.write(at * MIB, bytes.fill(at + 1))
    await file.sync()
  }
  expect((await file.read((megabytes - 1) * MIB, 1))[0]).toBe(megabytes)
}

describe('a full disk', () => {
  it.skipIf(!canMount)(
    'a full disk at the leader moves leadership: writes go on, and the full peer stays up, votes and catches up (needs root, to mount)',
    async () => {
      const peers = await startPeers()
      const { leader: full } = await leaderOf(peers)
      const client = await connect(peers)
      await write(client, '/before', 2)
      await checkpointed(peers, 2)

      await full.fill()
      // More than the last file of its log and the memory for its pages can take.
      await write(client, '/after', 40)
      const others = peers.filter((peer) => peer !== full)
      const { leader, term } = await leaderOf(peers)
      expect(others).toContain(leader)
      expect(full.isUp).toBe(true)
      const warning = `the disk of …${full.id.slice(-8)} is almost full`
      await until(async () => {
        const { status, stdout } = await quire(['health', '--peers', leader.address])
        return status === 0 && stdout.includes(warning)
      }, 'health to warn of the full disk')

      // It also starts on a full disk, and stays up.
      await full.kill()
      expect(full.otherLines.join('\n')).toBe('')
      full.start()
      await write(client, '/again', 2)
      await until(() => answers(full), 'the full peer to answer')
      await write(client, '/later', 10)
      expect(full.isUp).toBe(true)
      expect(await leaderOf(peers)).toEqual({ leader, term })

      // Without its vote there is no majority. The other peer has what it lacks.
      await leader.kill()
      const successor = others.find((peer) => peer !== leader)!
      const { leader: next } = await leaderOf([full, successor])
      expect(next).toBe(successor)
      // The new leader has that vote, and room. But no majority can store what it accepts.
      const lack = `no writes: 1 of 3 voters can store them, 2 are needed; no room at …${full.id.slice(-8)}`
      await until(async () => {
        const health = await quire(['health', '--peers', successor.address])
        return health.status === 1 && health.stderr === `quire: unhealthy: ${lack}\n`
      }, 'health to name the full peer')
      leader.start()

      full.resize(512 * MIB)
      await write(client, '/roomy', 2)
      await haveTheSame(peers)
      for (const peer of peers) expect(peer.otherLines.join('\n')).toBe('')
      expect(peers.every(({ isUp }) => isUp)).toBe(true)
    },
    MAY_LAST_MS
  )

  it.skipIf(!canLoop)(
    'a full ext4 at the leader moves leadership, and the full peer catches up when there is room (needs root, loop devices and mkfs.ext4)',
    async () => {
      const peers = await startPeers(mountExt4)
      const { leader: full } = await leaderOf(peers)
      const client = await connect(peers)
      await write(client, '/before', 2)
      await checkpointed(peers, 2)

      await full.fillWithFile()
      await write(client, '/after', 20)
      expect((await leaderOf(peers)).leader).not.toBe(full)
      expect(full.isUp).toBe(true)

      await full.removeBallast()
      await write(client, '/roomy', 2)
      await haveTheSame(peers)
      for (const peer of peers) expect(peer.otherLines.join('\n')).toBe('')
    },
    MAY_LAST_MS
  )

  it.skipIf(!canMount)(
    'a peer starts and votes on a full disk, even without a free inode and at another address (needs root, to mount)',
    async () => {
      const peers = await startPeers()
      const { leader } = await leaderOf(peers)
      const client = await connect(peers)
      await write(client, '/before', 2)
      const [full, other] = peers.filter((peer) => peer !== leader) as [DiskPeer, DiskPeer]

      await full.kill()
      await full.useUpInodes()
      await full.fill()
      full.start('/ip4/127.0.0.1/tcp/0')
      await until(() => answers(full), 'the full peer to answer')
      expect(full.otherLines.join('\n')).toBe('')
      expect(full.running.stderr).toMatch(/"file":"[^"]+listen\.json","code":"ENOSPC"/)

      // Without its vote there is no majority.
      await leader.kill()
      await until(async () => (await statuses([other])).some(({ role }) => role === 'leader'), 'the other to lead')
      expect(full.isUp).toBe(true)
    },
    MAY_LAST_MS
  )

  it.skipIf(!canMount)(
    'peers with full disks serve reads, fail writes with NoSpaceError, and accept writes again once there is room (needs root, to mount)',
    async () => {
      const peers = await startPeers()
      await leaderOf(peers)
      const client = await connect(peers)
      await write(client, '/before', 2)
      await checkpointed(peers, 2)
      for (const peer of peers) await peer.fill()

      await expect(write(client, '/after', 200)).rejects.toMatchObject({ name: 'NoSpaceError' })
      // The first leader that noticed may have handed over to one that had not noticed. From here on no peer has more
      // room than the leader.
      const { term } = await leaderOf(peers)
      const reader = await connect(peers)
      expect((await (await reader.open('/before')).read(MIB, 1))[0]).toBe(2)
      expect((await leaderOf(peers)).term).toBe(term)
      expect(peers.every(({ isUp }) => isUp)).toBe(true)

      for (const peer of peers) peer.resize(512 * MIB)
      await until(
        () =>
          write(client, '/roomy', 2).then(
            () => true,
            () => false
          ),
        'a write to be taken'
      )
      for (const peer of peers) expect(peer.otherLines.join('\n')).toBe('')
    },
    MAY_LAST_MS
  )
})
