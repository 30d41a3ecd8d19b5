/** Clusters, peers and folders that are not what they seem: what real peers do (docs/identity.md). */
import { freePorts } from '@quire/cli/internal'
import { cp, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { PEERS_SLOT_BYTES } from '../../packages/store/src/peer/data-dir.js'
import { decodeMemory } from '../../packages/store/src/peer/identity.js'
import { openSlotFile } from '../../packages/store/src/peer/slot-file.js'
import { INIT, quire, startQuire, type Running } from '../../packages/cli/test/support/quire.js'
import { startCluster, until, type PeerProcess, type TestCluster } from './support/cluster.js'

const undo: (() => PromiseLike<unknown>)[] = []

afterEach(async () => {
  for (const each of undo.splice(0).toReversed()) await each()
})

interface Status {
  readonly id: string
  readonly error?: string
  readonly role?: string
  readonly lastIndex?: number
  readonly founding?: string
  readonly quarantined?: readonly { readonly peerId: string; readonly reason: string }[]
}

async function cluster(): Promise<TestCluster> {
  const started = await startCluster()
  undo.push(() => started[Symbol.asyncDispose]())
  return started
}

async function statusOf(...peers: readonly PeerProcess[]): Promise<Status[]> {
  const { stdout } = await quire(['status', '--json', '--peers', peers.map(({ multiaddr }) => multiaddr).join(',')])
  return stdout
    .trim()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Status)
}

function run(args: readonly string[]): Running {
  const running = startQuire(args)
  undo.push(async (): Promise<void> => {
    running.child.kill('SIGKILL')
    await until(() => running.child.exitCode !== null || running.child.signalCode !== null, 'a process to end')
  })
  return running
}

async function writeAndFlush(test: TestCluster, peers: readonly PeerProcess[], times: number): Promise<void> {
  const client = await test.client({ peers: peers.map(({ multiaddr }) => multiaddr) })
  const file = await client.open('/facts', { create: true, size: 65_536 })
  for (let i = 0; i < times; i++) {
    await file.write(i * 8, new TextEncoder().encode(`fact ${i}  `))
    await file.sync()
  }
  await client.close()
}

describe('a peer whose folder was restored from an older copy', () => {
  it('a peer whose folder was restored from an older copy is refused by all, says so, and elects no leader when the leader changes', async () => {
    const test = await cluster()
    const leader = await test.leader()
    const [victim, other] = test.peers.filter((peer) => peer !== leader) as [PeerProcess, PeerProcess]
    await writeAndFlush(test, test.peers, 3)
    await test.kill(victim)
    await copyFolder(victim.dataDir, `${victim.dataDir}.copy`)
    await test.restart(victim)
    await writeAndFlush(test, test.peers, 30)
    const [{ lastIndex = 0 } = {}] = await statusOf(leader)
    await until(
      () => [leader, other].every((peer) => acknowledgedIn(peer, victim) >= lastIndex),
      'both others to remember, durably, what the victim has acknowledged'
    )

    await test.kill(victim)
    await rename(victim.dataDir, `${victim.dataDir}.newest`)
    await copyFolder(`${victim.dataDir}.copy`, victim.dataDir)
    const restarted = await test.restartAt(victim, victim.multiaddr.replace(/\/p2p\/.*$/, ''))
    await until(() => restarted.stderr.includes('this peer is refused'), 'the victim to hear of it')
    expect(restarted.stderr).toContain('it was restored from an older copy')
    const [mine] = (await statusOf(leader)).filter(({ id }) => id === leader.peerId)
    expect(mine?.quarantined?.map(({ peerId }) => peerId)).toEqual([victim.peerId])

    // Without the leader, the other peer and the old folder are a majority by number. They must not elect a leader.
    await test.kill(leader)
    await until(async () => (await statusOf(other)).some(({ role }) => role === 'candidate'), 'the other peer to stand')
    for (let look = 0; look < 5; look++) {
      expect((await statusOf(other, victim)).map(({ role }) => role)).not.toContain('leader')
    }

    // The newest folder is accepted.
    await test.kill(victim)
    await rm(victim.dataDir, { recursive: true })
    await rename(`${victim.dataDir}.newest`, victim.dataDir)
    await test.restart(victim)
    await writeAndFlush(test, [other, victim], 1)
  }, 90_000)

  it('a folder that was copied while its peer led is refused by all: its peer elects no leader and is not elected', async () => {
    const test = await cluster()
    const victim = await test.leader()
    const others = test.peers.filter((peer) => peer !== victim) as [PeerProcess, PeerProcess]
    await writeAndFlush(test, test.peers, 3)
    await copyFolder(victim.dataDir, `${victim.dataDir}.copy`)
    await writeAndFlush(test, test.peers, 30)
    const { lastIndex = 0 } = (await statusOf(victim)).find(({ id }) => id === victim.peerId)!
    await until(
      () => others.every((peer) => acknowledgedIn(peer, victim) >= lastIndex),
      'both others to remember, durably, what the leader has'
    )

    await test.kill(victim)
    await rename(victim.dataDir, `${victim.dataDir}.newest`)
    await rename(`${victim.dataDir}.copy`, victim.dataDir)
    const restarted = await test.restartAt(victim, victim.multiaddr.replace(/\/p2p\/.*$/, ''))
    await until(() => restarted.stderr.includes('this peer is refused'), 'the old leader to hear of it')
    expect(restarted.stderr).toContain('it was restored from an older copy')

    const [lone, gone] = others
    await test.kill(gone)
    await until(async () => (await statusOf(lone)).some(({ role }) => role === 'candidate'), 'the lone peer to stand')
    for (let look = 0; look < 5; look++) {
      expect((await statusOf(lone, victim)).map(({ role }) => role)).not.toContain('leader')
    }

    await test.kill(victim)
    await rm(victim.dataDir, { recursive: true })
    await rename(`${victim.dataDir}.newest`, victim.dataDir)
    await test.restart(victim)
    const client = await test.client({ peers: [lone, victim].map(({ multiaddr }) => multiaddr) })
    const bytes = await (await client.open('/facts')).read(29 * 8, 7)
    expect(new TextDecoder().decode(bytes)).toBe('fact 29')
  }, 90_000)

  it('a peer with an empty folder under an old key is refused, and the cluster works without it', async () => {
    const test = await cluster()
    const leader = await test.leader()
    const victim = test.peers.find((peer) => peer !== leader)!
    await writeAndFlush(test, test.peers, 3)
    await test.kill(victim)
    await rm(victim.dataDir, { recursive: true })
    const file = join(victim.dataDir, '..', 'cluster.json')
    const listen = victim.multiaddr.replace(/\/p2p\/.*$/, '')
    const args = ['peer', '--data-dir', victim.dataDir, '--key', victim.key, '--listen', listen, '--cluster', file]
    const wiped = run(args)
    await until(() => wiped.stderr.includes('this peer is refused'), 'the wiped peer to hear of it')
    const remedy = 'stop it and put the newest directory back; if that is lost, start it with --rejoin founder'
    expect(wiped.stderr).toContain(remedy)
    await writeAndFlush(test, test.peers, 3)
    const own = (await statusOf(victim)).find(({ id }) => id === victim.peerId)
    expect(own?.lastIndex).toBe(1)
  }, 60_000)
})

describe('peers that were founded from different configurations', () => {
  it('peers that were founded from different configurations never link, name the difference, and are distinguished by clients', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'quire-two-'))
    undo.push(() => rm(folder, { recursive: true, force: true }))
    const peers: { id: string; key: string; address: string }[] = []
    for (const name of ['one', 'two', 'three']) {
      const key = join(folder, `${name}.key`)
      const id = (await quire(['keygen', key])).stdout.trim()
      peers.push({ id, key, address: `/ip4/127.0.0.1/tcp/${(await freePorts(1))[0]}` })
    }
    const files = ['all', 'lone', 'addresses'].map((name) => join(folder, `${name}.json`)) as [string, string, string]
    const found = async (out: string, voters: readonly string[]): Promise<string> => {
      const made = await quire([
        ...INIT,
        '--cluster-id',
        'blue',
        '--clients',
        'any',
        '--out',
        out,
        '--json',
        '--voters',
        ...voters
      ])
      return (JSON.parse(made.stdout) as { founding: string }).founding
    }
    const addresses = peers.map(({ id, address }) => `${address}/p2p/${id}`)
    const all = await found(files[0], addresses)
    const lone = await found(files[1], [addresses[2]!])
    const peer = (at: number, file: string): Running => {
      const { key, address } = peers[at]!
      const dataDir = join(folder, `data-${at}`)
      return run(['peer', '--data-dir', dataDir, '--key', key, '--listen', address, '--cluster', file])
    }
    const first = peer(0, files[0])
    const third = peer(2, files[1])
    await until(() => first.stderr.includes('founded from another configuration'), 'the first peer to notice')
    await until(() => third.stderr.includes('voters: '), 'the third peer to name the difference')
    expect(third.stderr).toMatch(/voters: …\w{8} here, …\w{8}, …\w{8}, …\w{8} there/)

    const lonely = await quire(['ls', '/', '--peers', addresses[2]!, '--cluster', all])
    expect(lonely.status).toBe(1)
    expect(lonely.stderr).toContain('it belongs to cluster blue')
    const right = await quire(['ls', '/', '--peers', addresses[2]!], { env: { QUIRE_CLUSTER: lone } })
    expect(right.status).toBe(0)

    // The same voters at another address suffice.
    const text = await readFile(files[0], 'utf8')
    await writeFile(files[2], text.replace(peers[0]!.address, '/ip4/127.0.0.1/tcp/9'))
    const second = peer(1, files[2])
    await until(() => second.stderr.includes('addresses of voter'), 'the second peer to name the difference')
    expect(second.stderr).toContain('/ip4/127.0.0.1/tcp/9 here')
  }, 60_000)

  it("a cluster file of another cluster than the data directory's is refused in one line", async () => {
    const test = await cluster()
    const [peer] = test.peers as [PeerProcess]
    await test.kill(peer)
    const file = join(peer.dataDir, '..', 'cluster.json')
    const changed = join(peer.dataDir, '..', 'changed.json')
    const text = JSON.parse(await readFile(file, 'utf8')) as { clients: unknown }
    const client = (await quire(['keygen', join(peer.dataDir, '..', 'client.key')])).stdout.trim()
    await writeFile(changed, JSON.stringify({ ...text, clients: [client] }))
    const args = ['peer', '--data-dir', peer.dataDir, '--key', peer.key, '--listen', '/ip4/127.0.0.1/tcp/0']
    const refused = await quire([...args, '--cluster', changed, '--log-level', 'silent'])
    expect([refused.status, refused.stderr.trim().split('\n')]).toEqual([
      1,
      [expect.stringMatching(/founded from another configuration: clients: any in the directory, 1 .* in the file/)]
    ])
    await writeFile(changed, JSON.stringify({ ...text, client: [] }))
    const misspelled = await quire([...args, '--cluster', changed])
    expect(misspelled.stderr).toContain('without the unknown key "client"')
  }, 60_000)
})

describe('a peer that came back under another port', () => {
  it('a leader that came back under another port is found by a client that knows only its old address', async () => {
    const test = await cluster()
    const leader = await test.leader()
    const others = test.peers.filter((peer) => peer !== leader)
    await test.kill(leader)
    await test.restartAt(leader, `/ip4/127.0.0.1/tcp/${(await freePorts(1))[0]}`)
    await until(
      async () => {
        const current = (await statusOf(...others)).find(({ role }) => role === 'leader')
        // One of the two others follows a leader that is killed.
        const deposed = others.find(({ peerId }) => peerId === current?.id)
        if (deposed !== undefined) {
          await test.kill(deposed)
          await test.restart(deposed)
        }
        return current?.id === leader.peerId
      },
      'the moved peer to lead',
      60_000
    )
    const client = await test.client({ peers: others.map(({ multiaddr }) => multiaddr) })
    const file = await client.open('/after', { create: true, size: 10 })
    await file.write(0, new Uint8Array([1]))
    await file.sync()
  }, 90_000)
})

/** Returns the last entry that `peer` durably remembers `about` to have acknowledged. */
function acknowledgedIn(peer: PeerProcess, about: PeerProcess): number {
  const file = openSlotFile(join(peer.dataDir, 'peers.state'), PEERS_SLOT_BYTES)
  return decodeMemory(file.text).peers.find(({ member }) => member === about.peerId)?.lastIndex ?? 0
}

/** Copies the folder without the socket that a killed process leaves behind. */
function copyFolder(from: string, to: string): Promise<void> {
  return cp(from, to, { recursive: true, filter: (path) => !basename(path).startsWith('lock-') })
}
