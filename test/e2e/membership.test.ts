/** Peers join, are promoted, replaced and removed while clients work (docs/membership.md). */
import { freePorts } from '@quire/cli/internal'
import { mkdtemp, readdir, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { loadPrivateKey } from '@quire/net'
import { createProbe, type Probe } from '../../packages/cli/src/probe.js'
import { keygen, quire, startQuire, type Finished, type Running } from '../../packages/cli/test/support/quire.js'
import { startCluster, until, type PeerProcess, type TestCluster } from './support/cluster.js'
import { keepWriting, readCounter } from './support/counter.js'

const undo: (() => PromiseLike<unknown>)[] = []

afterEach(async () => {
  for (const each of undo.splice(0).toReversed()) await each()
})

type Listed = Extract<Awaited<ReturnType<Probe['roster']>>, { type: 'roster' }>['members'][number]

/** A cluster, the admin's commands, and a folder for peers that join. */
class Administered {
  private constructor(
    readonly cluster: TestCluster,
    readonly folder: string,
    private readonly probe: Probe
  ) {}

  static async start(): Promise<Administered> {
    const cluster = await startCluster()
    undo.push(() => cluster[Symbol.asyncDispose]())
    const folder = await mkdtemp(join(tmpdir(), 'quire-joined-'))
    undo.push(() => rm(folder, { recursive: true, force: true }))
    // In this process, because each command takes a second of processor time.
    const probe = await createProbe(await loadPrivateKey(adminKeyOf(cluster)))
    undo.push(() => probe.close())
    return new Administered(cluster, folder, probe)
  }

  admin(...args: readonly string[]): Promise<Finished> {
    const peers = [...this.cluster.addresses, ...this.joined.map(({ multiaddr }) => multiaddr)].join(',')
    return quire([...args, '--peers', peers, '--key', adminKeyOf(this.cluster)])
  }

  /** The members as the leader lists them; none while there is no leader. */
  async members(): Promise<readonly Listed[]> {
    for (const { peerId, multiaddr } of [...this.cluster.peers, ...this.joined]) {
      const to = { peerId, addresses: [multiaddr] }
      const answer = await this.probe.roster(to, 5_000).catch(() => undefined)
      if (answer?.type === 'roster') return answer.members
    }
    return []
  }

  /** Waits until a member with this PeerId that joined later has the role and has caught up, and none is leaving. */
  async untilJoined(peerId: string, role: Listed['role']): Promise<void> {
    await until(
      async () => {
        const members = await this.members()
        const found = members.find(({ id }) => id.startsWith(`${peerId}/`))
        const isSettled = members.every((member) => member.role !== 'outgoing')
        return isSettled && found?.role === role && found.hasCaughtUp === true
      },
      `${peerId} to be a ${role}`,
      60_000
    )
  }

  /** Peers that joined later. */
  readonly joined: PeerProcess[] = []

  /** Starts a peer that asks `through` to join. Resolves before it is invited. */
  startJoining(peer: Omit<PeerProcess, 'pid'>, through: PeerProcess, ...more: readonly string[]): Running {
    const { dataDir, key, multiaddr } = peer
    const listen = listenOf({ multiaddr })
    const common = ['peer', '--json', '--data-dir', dataDir, '--key', key, '--listen', listen]
    const running = startQuire([...common, '--join', through.multiaddr, ...more])
    this.joined.push({ ...peer, pid: running.child.pid! })
    undo.push(async () => {
      running.child.kill('SIGKILL')
      await until(() => running.child.exitCode !== null || running.child.signalCode !== null, 'a peer to end')
    })
    return running
  }

  /** The key, folder and address of a peer that has not run yet. */
  async newcomer(name: string): Promise<Omit<PeerProcess, 'pid'>> {
    const key = join(this.folder, `${name}.key`)
    const peerId = await keygen(key)
    const multiaddr = `/ip4/127.0.0.1/tcp/${(await freePorts(1))[0]}/p2p/${peerId}`
    return { peerId, multiaddr, dataDir: join(this.folder, name), key }
  }
}

function adminKeyOf({ peers }: TestCluster): string {
  return join(peers[0]!.dataDir, '..', 'admin.key')
}

function listenOf({ multiaddr }: Pick<PeerProcess, 'multiaddr'>): string {
  return multiaddr.replace(/\/p2p\/.*$/, '')
}

describe('members of a cluster', () => {
  it('a fourth peer waits for its invitation, joins while a client writes, and is promoted', async () => {
    const admin = await Administered.start()
    const { cluster } = admin
    const writer = await keepWriting(cluster)
    const four = await admin.newcomer('four')
    const running = admin.startJoining(four, cluster.peers[0]!)
    await until(() => running.stderr.includes('quire members add'), 'the peer to say what an admin must do')
    expect(await readdir(admin.folder)).not.toContain('four')

    expect(await admin.admin('members', 'add', four.multiaddr)).toMatchObject({ status: 0 })
    await admin.untilJoined(four.peerId, 'learner')
    expect(await admin.admin('members', 'promote', four.peerId)).toMatchObject({ status: 0 })
    await admin.untilJoined(four.peerId, 'voter')
    expect((await admin.members()).map(({ role }) => role)).toEqual(['voter', 'voter', 'voter', 'voter'])

    const last = await writer.stop()
    expect(last).toBeGreaterThan(0)
    expect(await readCounter(cluster, [four.multiaddr])).toBe(last)
  })

  it('a voter whose folder is lost takes its place again while a client writes, and its former folder forms no majority', async () => {
    const admin = await Administered.start()
    const { cluster } = admin
    const writer = await keepWriting(cluster)
    const leader = await cluster.leader()
    const [lost, other] = cluster.peers.filter((peer) => peer !== leader) as [PeerProcess, PeerProcess]
    await cluster.kill(lost)
    const former = `${lost.dataDir}-former`
    await rename(lost.dataDir, former)
    admin.startJoining(lost, other, '--rejoin', 'founder')
    await admin.untilJoined(lost.peerId, 'voter')
    const members = await admin.members()
    expect(members).toHaveLength(3)
    expect(members.map(({ id }) => id)).not.toContain(lost.peerId)

    // With the other founder down, nothing is written without the peer that came back.
    await cluster.kill(other)
    const before = await writer.stop()
    const again = await keepWriting(cluster)
    await until(() => again.stop().then((last) => last > 0), 'a write that needs the replacement')
    expect(before).toBeGreaterThan(0)

    // The former folder comes back in place of the new one. The leader and this folder were a majority of the founders.
    await cluster.kill(admin.joined[0]!)
    const found = await cluster.restartAt({ ...lost, dataDir: former }, listenOf(lost))
    undo.push(async () => void found.child.kill('SIGKILL'))
    const refusal = 'its data directory is not the one that is a member'
    await until(() => found.stderr.includes(refusal), 'the former folder to be refused')
    await until(async () => (await admin.members()).length === 0, 'the leader to notice that no majority answers')
    found.child.kill('SIGKILL')
    await until(() => found.child.signalCode !== null, 'the former folder to be released')
    admin.startJoining(lost, other, '--rejoin', 'founder')
    await until(async () => (await admin.members()).length === 3, 'the new folder to make a majority')
  })

  it('a peer gives up one damaged folder after the other as its messages say, and none by an option that stayed', async () => {
    const admin = await Administered.start()
    const { cluster } = admin
    const leader = await cluster.leader()
    const peer = cluster.peers.find((each) => each !== leader)!
    const loseLog = async (): Promise<void> => {
      await cluster.kill(admin.joined.at(-1) ?? peer)
      await rm(join(peer.dataDir, 'log'), { recursive: true })
    }
    /** Starts the peer, which refuses its folder, and returns the name by which it can be given up. */
    const refusedAs = async (...options: readonly string[]): Promise<string> => {
      const refused = admin.startJoining(peer, leader, ...options)
      await until(() => refused.child.exitCode !== null, 'the peer to refuse its folder')
      expect(refused.stderr).toContain('the log is gone')
      return /--join and --rejoin (\S+)/.exec(refused.stderr)![1]!
    }
    await loseLog()
    const first = await refusedAs()
    expect(first).toBe('founder')
    admin.startJoining(peer, leader, '--rejoin', first)
    await admin.untilJoined(peer.peerId, 'voter')

    await loseLog()
    const second = await refusedAs('--rejoin', first)
    admin.startJoining(peer, leader, '--rejoin', second)
    await until(
      async () => {
        const members = await admin.members()
        return members.length === 3 && !members.some(({ id }) => id === `${peer.peerId}/${second}`)
      },
      'the second new folder to take the place of the first',
      60_000
    )
    expect((await admin.members()).map(({ role }) => role)).toEqual(['voter', 'voter', 'voter'])
    expect((await readdir(peer.dataDir)).filter((name) => name.startsWith('before-rejoin-'))).toHaveLength(2)
  })

  it('a peer with a new key replaces a voter that is gone, and the replaced peer disturbs no one when it returns', async () => {
    const admin = await Administered.start()
    const { cluster } = admin
    const leader = await cluster.leader()
    const gone = cluster.peers.find((peer) => peer !== leader)!
    const writer = await keepWriting(cluster)
    await cluster.kill(gone)
    const five = await admin.newcomer('five')
    expect(await admin.admin('members', 'replace', gone.peerId, five.multiaddr)).toMatchObject({ status: 0 })
    admin.startJoining(five, leader)
    await admin.untilJoined(five.peerId, 'voter')
    expect((await admin.members()).map(({ id }) => id)).not.toContain(gone.peerId)

    const returned = await cluster.restartAt(gone, listenOf(gone))
    await until(() => returned.stderr.includes('it is no member of cluster'), 'the replaced peer to be told so')
    const { stdout } = await admin.admin('status', '--json')
    const statuses = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { id: string; term?: number; role?: string })
    expect(statuses.find(({ role }) => role === 'leader')?.id).toBe(leader.peerId)
    expect(await writer.stop()).toBeGreaterThan(0)
  })

  it('changes that would leave the cluster without a majority, or voters that lack entries, are refused', async () => {
    const admin = await Administered.start()
    const { cluster } = admin
    const leader = await cluster.leader()
    const [one, two] = cluster.peers.filter((peer) => peer !== leader) as [PeerProcess, PeerProcess]
    const four = await admin.newcomer('four')
    await admin.admin('members', 'add', four.multiaddr)
    expect(await admin.admin('members', 'promote', four.peerId)).toMatchObject({ status: 2 })
    await cluster.kill(one)
    await until(
      async () => (await admin.members()).some(({ id, answers }) => id === one.peerId && answers === false),
      'the leader to miss a peer'
    )
    const refused = await admin.admin('members', 'remove', two.peerId)
    expect(refused).toMatchObject({ status: 1 })
    expect(refused.stderr).toContain('only 1 of the 2 voters that would remain answer, which is no majority')
    expect(await admin.admin('members', 'remove', one.peerId)).toMatchObject({ status: 0 })
    expect((await admin.members()).filter(({ role }) => role === 'voter')).toHaveLength(2)
  })
})
