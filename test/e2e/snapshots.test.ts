/** Snapshots between real peers (docs/storage.md, Snapshots and Bounds). */
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { DsmFile } from '@quire/dsm-client'
import { afterEach, describe, expect, it } from 'vitest'
import { createProbe, type StatusAnswer } from '../../packages/cli/src/probe.js'
import { quire } from '../../packages/cli/test/support/quire.js'
import { startCluster, until, type PeerProcess, type TestCluster } from './support/cluster.js'

const MIB = 1024 * 1024
const FILE_BYTES = 10 * MIB
const WRITE_BYTES = 64 * 1024
const RETAINED_BYTES = MIB
const SEGMENT_BYTES = 16 * MIB
/** More than the bound of a log that retains 1 MiB and has no older checkpoint to wait for. */
const ENOUGH_BYTES = 64 * MIB
const MAY_LAST_MS = 300_000

const undo: (() => PromiseLike<unknown>)[] = []

afterEach(async () => {
  for (const each of undo.splice(0).toReversed()) await each()
})

/** Writes a file of 10 MiB over and over, and knows its bytes. */
class Writer {
  readonly expected = Buffer.alloc(FILE_BYTES)
  writtenBytes = 0
  private syncs = 0
  private round = 0
  private isStopped = false
  private running: Promise<void> = Promise.resolve()

  constructor(private readonly file: DsmFile) {}

  /** Replaces all bytes of the file, durably. */
  async overwrite(): Promise<void> {
    for (let offset = 0; offset < FILE_BYTES; offset += WRITE_BYTES) await this.write(offset)
    await this.sync()
  }

  /** Writes and flushes one part after another until `stop`. */
  start(): void {
    this.isStopped = false
    this.running = this.run()
    // `stop` reports it.
    this.running.catch(() => {})
  }

  /** Waits until the writer has flushed some more parts, and ends it. */
  async stop(): Promise<void> {
    const before = this.syncs
    await until(() => this.syncs >= before + 3, 'the writer to go on')
    this.isStopped = true
    await this.running
  }

  private async run(): Promise<void> {
    for (let part = 0; !this.isStopped; part++) {
      await this.write((part * WRITE_BYTES) % FILE_BYTES)
      await this.sync()
    }
  }

  private async write(offset: number): Promise<void> {
    const bytes = new Uint8Array(WRITE_BYTES).fill(++this.round % 251)
    new DataView(bytes.buffer).setUint32(0, this.round)
    await this.file.write(offset, bytes)
    this.expected.set(bytes, offset)
    this.writtenBytes += WRITE_BYTES
  }

  private async sync(): Promise<void> {
    await this.file.sync()
    this.syncs++
  }
}

interface Scene {
  readonly cluster: TestCluster
  readonly writer: Writer
  /** The peer that is down. Its log ends with `lastIndex`, and both others have dropped the entries after that. */
  readonly late: PeerProcess
  readonly lastIndex: number
  /** Resolves with undefined if the peer does not answer. */
  readonly status: (peer: PeerProcess) => Promise<StatusAnswer | undefined>
}

/** Starts a cluster in which one peer is down, and lacks entries that the others no longer have. */
async function startWithLatePeer(snapshotRate: string): Promise<Scene> {
  const cluster = await startCluster()
  undo.push(() => cluster[Symbol.asyncDispose]())
  const probe = await createProbe()
  undo.push(() => probe.close())
  const status = async ({ peerId, multiaddr }: PeerProcess): Promise<StatusAnswer | undefined> => {
    const answered = await probe.status(peerId, [multiaddr], 5_000).catch(() => undefined)
    return answered?.answer
  }
  cluster.peerOptions = ['--retained-log', '1MiB', '--snapshot-rate', snapshotRate, '--log-level', 'info']
  await cluster.stop(...cluster.peers)
  await cluster.restart(...cluster.peers)

  const client = await cluster.client({ faultTimeoutMs: 60_000 })
  const writer = new Writer(await client.open('/large', { create: true, size: FILE_BYTES, unit: 'file' }))
  await writer.overwrite()
  const leader = await cluster.leader()
  const late = cluster.peers.find((peer) => peer !== leader)!
  const { lastIndex } = (await status(late))!
  await cluster.stop(late)
  const others = cluster.peers.filter((peer) => peer !== late)
  await until(
    async () => {
      await writer.overwrite()
      const stores = await Promise.all(others.map(status))
      return stores.every((each) => each?.store !== undefined && each.store.firstIndex > lastIndex + 1)
    },
    'both others to drop the entries that the stopped peer needs',
    60_000
  )
  return { cluster, writer, late, lastIndex, status }
}

/** Waits until the peer has everything, through a snapshot: its log then starts after that. */
async function caughtUp({ cluster, late, lastIndex, status }: Scene): Promise<void> {
  const others = cluster.peers.filter((peer) => peer !== late)
  await until(
    async () => {
      const [own, ...answers] = await Promise.all([late, ...others].map(status))
      const leader = answers.find((each) => each?.role === 'leader')
      if (own?.store === undefined || leader === undefined) return false
      return own.store.firstIndex > lastIndex + 1 && own.appliedIndex >= leader.appliedIndex - 10
    },
    'the stopped peer to catch up by a snapshot',
    60_000
  )
  expect(await status(late)).toMatchObject({ receiving: undefined })
}

/** Waits until a part of a snapshot has arrived, but not all of it. */
async function receivesSnapshot({ late, status }: Scene): Promise<void> {
  const receivedBytes = async (): Promise<number> => (await status(late))?.receiving?.receivedBytes ?? 0
  await until(async () => (await receivedBytes()) > MIB, 'a part of a snapshot to arrive')
  expect(await receivedBytes()).toBeLessThan(FILE_BYTES / 2)
}

/** Makes the peer the leader, and returns the bytes of the file that it serves. */
async function readFromLate({ cluster, writer, late, status }: Scene): Promise<Buffer> {
  const leader = await cluster.leader()
  const other = cluster.peers.find((peer) => peer !== late && peer !== leader)!
  if (leader !== late) {
    await cluster.stop(other)
    // The other peer lacks these entries, so it cannot be elected.
    writer.start()
    await writer.stop()
    // The leader hands over to the only peer that is left.
    await cluster.stop(leader)
    await cluster.restart(other)
    await until(async () => (await status(late))?.role === 'leader', 'the peer to lead')
  }
  const reader = await cluster.client({ faultTimeoutMs: 60_000 })
  const bytes = await (await reader.open('/large')).read(0, FILE_BYTES)
  expect((await status(late))?.role).toBe('leader')
  return Buffer.from(bytes)
}

function bytesOfFolder(folder: string): number {
  // A file may disappear meanwhile.
  const sizeOf = (name: string): number => statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0
  return readdirSync(folder).reduce((sum, name) => sum + sizeOf(name), 0)
}

describe('a peer that needs entries which the others no longer have', () => {
  it(
    'a peer that was stopped for more than the retained log catches up by a snapshot while a client writes, and then serves the same bytes as leader',
    async () => {
      const scene = await startWithLatePeer('512KiB')
      const { cluster, writer, late, status } = scene
      writer.start()
      await cluster.restart(late)
      await receivesSnapshot(scene)
      const { stdout } = await quire(['status', '--peers', cluster.addresses.join(',')])
      expect(stdout).toMatch(/^…\S{8} sends …\S{8} the snapshot of entry \d+: \d+\.\d MiB of about \d+\.\d MiB$/m)
      await caughtUp(scene)
      await writer.stop()
      while (writer.writtenBytes < ENOUGH_BYTES) await writer.overwrite()
      for (const peer of cluster.peers) await logIsBounded(peer, status)
      expect((await readFromLate(scene)).equals(writer.expected)).toBe(true)
    },
    MAY_LAST_MS
  )

  it(
    'a peer that is killed in the middle of a snapshot catches up after its next start, and serves the same bytes as leader',
    async () => {
      const scene = await startWithLatePeer('1MiB')
      const { cluster, writer, late } = scene
      await cluster.restart(late)
      await receivesSnapshot(scene)
      await cluster.kill(late)
      writer.start()
      await cluster.restart(late)
      await caughtUp(scene)
      await writer.stop()
      expect((await readFromLate(scene)).equals(writer.expected)).toBe(true)
    },
    MAY_LAST_MS
  )

  it(
    'a peer catches up although the leader is killed in the middle of its snapshot, and serves the same bytes as leader',
    async () => {
      const scene = await startWithLatePeer('1MiB')
      const { cluster, writer, late } = scene
      const leader = await cluster.leader()
      await cluster.restart(late)
      await receivesSnapshot(scene)
      writer.start()
      await cluster.kill(leader)
      await caughtUp(scene)
      await writer.stop()
      await cluster.restart(leader)
      expect((await readFromLate(scene)).equals(writer.expected)).toBe(true)
    },
    MAY_LAST_MS
  )
})

/** Waits until the log has shrunk to what it retains, and compares its size on the disk (docs/storage.md, Bounds). */
async function logIsBounded(peer: PeerProcess, status: Scene['status']): Promise<void> {
  const most = RETAINED_BYTES + 3 * SEGMENT_BYTES
  const onDisk = (): number => bytesOfFolder(join(peer.dataDir, 'log'))
  await until(() => onDisk() <= most, `the log of ${peer.peerId} to have at most ${most} bytes`)
  const { store, appliedIndex } = (await status(peer))!
  expect(store!.logBytes).toBeGreaterThan(0)
  expect(store!.logBytes).toBeLessThanOrEqual(onDisk())
  expect(store!.firstIndex).toBeLessThanOrEqual(appliedIndex)
}
