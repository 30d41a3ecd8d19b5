import { decode, InvalidArgumentError, raftConfiguration } from '@quire/protocol'
import { afterEach, describe, expect, it } from 'vitest'
import { ChangePendingError, NotLeaderError, TransferFailedError } from '../src/index.js'
import { Cluster, type ClusterOptions, type Member } from './support/cluster.js'

/** The driver's defaults. */
const TICK_MS = 20
const ELECTION_MS = 16 * TICK_MS

let cluster: Cluster
let leader: Member

async function start(options: ClusterOptions = {}): Promise<void> {
  cluster = await Cluster.start(options)
  leader = await cluster.elect()
}

const other = (): Member => cluster.members.find(({ id, founders }) => id !== leader.id && founders !== undefined)!

afterEach(async () => {
  const fatal = cluster.members.map((member) => member.fatal).filter((error) => error !== undefined)
  await cluster.close()
  expect(fatal).toEqual([])
})

describe('the membership', () => {
  it('the membership grows by a node that joins, first as a learner and then as a voter (§6, thesis §4.2.1)', async () => {
    await start({ joiners: ['x'] })
    const x = cluster.member('x')
    await cluster.run(x.start())
    leader.node!.changeMembership([{ type: 'learner', id: 'x' }])
    expect(() => leader.node!.changeMembership([{ type: 'removed', id: 'n1' }])).toThrow(ChangePendingError)
    expect(await cluster.converge(leader.propose('to all'))).toBe(true)
    expect(x.status).toMatchObject({ role: 'learner', learners: ['x'] })
    const { index } = leader.node!.changeMembership([{ type: 'voter', id: 'x' }])
    expect(await cluster.converge(index)).toBe(true)
    expect(x.status).toMatchObject({ role: 'follower', voters: ['n1', 'n2', 'n3', 'x'], learners: [] })
  })

  it('the membership changes several members at once by a joint configuration, which the leader leaves (§6)', async () => {
    await start({ joiners: ['x', 'y'] })
    for (const id of ['x', 'y']) await cluster.run(cluster.member(id).start())
    expect(() => leader.node!.changeMembership([{ type: 'voter', id: 'x' }])).toThrow(/learner first/)
    const learners = leader.node!.changeMembership([
      { type: 'learner', id: 'x' },
      { type: 'learner', id: 'y' }
    ])
    expect(await cluster.converge(learners.index)).toBe(true)
    const gone = other().id
    const { index } = leader.node!.changeMembership([
      { type: 'voter', id: 'x' },
      { type: 'voter', id: 'y' },
      { type: 'removed', id: gone }
    ])
    await cluster.clock.until(() => leader.status!.appliedIndex > index)
    expect(leader.status!.outgoing).toEqual([])
    expect(leader.status!.voters).not.toContain(gone)
    expect(leader.status!.voters).toHaveLength(4)
  })

  it("the membership may stay while the application's part of the configuration changes", async () => {
    await start()
    const { voters } = leader.status!
    const { index } = leader.node!.changeMembership([], Uint8Array.of(7, 8))
    expect(await cluster.converge(index)).toBe(true)
    expect(leader.status!.voters).toEqual(voters)
    const config = leader.applied.find((entry) => entry.index === index)!
    expect(decode(raftConfiguration, config.data).context).toEqual(Uint8Array.of(7, 8))
    expect(() => leader.node!.changeMembership([])).toThrow(/it changes nothing/)
  })

  it('a node rejects invalid changes of the membership, with the reason', async () => {
    await start()
    const change = (...ids: string[]) => leader.node!.changeMembership(ids.map((id) => ({ type: 'removed', id })))
    expect(() => change('n1', 'n2', 'n3')).toThrow(/no voter would be left/)
    expect(() => change('x')).toThrow(/it changes nothing/)
    expect(() => change('n1', 'n1')).toThrow(InvalidArgumentError)
    expect(() => other().node!.changeMembership([{ type: 'removed', id: 'n1' }])).toThrow(NotLeaderError)
  })
})

describe('transfers of leadership', () => {
  it('a transfer of leadership resolves when the target leads (thesis §3.10)', async () => {
    await start()
    const target = other()
    const before = cluster.clock.now()
    await cluster.run(leader.node!.transferLeadership(target.id))
    expect(leader.status!.leader).toBe(target.id)
    // No election timeout has passed.
    expect(cluster.clock.now() - before).toBeLessThan(100)
  })

  it('a transfer of leadership chooses a target if none is given', async () => {
    await start()
    await cluster.run(leader.node!.transferLeadership())
    expect(leader.status!.role).toBe('follower')
  })

  it('a transfer of leadership fails if the target does not answer, and the leader goes on', async () => {
    await start()
    const target = other()
    cluster.isolate(target)
    const transfer = leader.node!.transferLeadership(target.id)
    expect(() => leader.propose('x')).toThrow(/transfer/)
    await expect(cluster.run(transfer)).rejects.toThrow(TransferFailedError)
    expect(await cluster.converge(leader.propose('goes on'), 1000)).toBe(false)
    cluster.heal()
    expect(await cluster.converge(leader.status!.lastIndex)).toBe(true)
    expect(leader.status!.role).toBe('leader')
  })

  it('a transfer of leadership ends within three election timeouts if its leader is deposed meanwhile and no leader follows', async () => {
    const isolated = async (): Promise<void> => {
      await start()
      for (const member of cluster.members) cluster.isolate(member)
    }
    await isolated()
    const from = cluster.clock.now()
    expect(await cluster.clock.until(() => leader.status!.role !== 'leader')).toBe(true)
    const deposedMs = cluster.clock.now() - from
    await cluster.close()
    // The deposition comes between the last and the first moment of the transfer's own timeout.
    for (const beforeMs of [1, ELECTION_MS / 2, ELECTION_MS - 1]) {
      await isolated()
      await cluster.clock.advance(deposedMs - beforeMs)
      expect(leader.status!.role).toBe('leader')
      const asked = cluster.clock.now()
      await expect(cluster.run(leader.node!.transferLeadership(other().id))).rejects.toThrow(TransferFailedError)
      const took = cluster.clock.now() - asked
      expect(took).toBeGreaterThan(2 * ELECTION_MS - TICK_MS)
      expect(took).toBeLessThanOrEqual(3 * ELECTION_MS)
    }
  })

  it('a transfer of leadership ends within three election timeouts when a higher term deposes its leader (seed 898606215)', async () => {
    await start()
    const [target, mute] = cluster.members.filter(({ id }) => id !== leader.id) as [Member, Member]
    // The leader sends a voter every entry that it lacks before it tells the voter to stand.
    const { lastIndex } = leader.status!
    await cluster.clock.until(() =>
      [...leader.node!.followers().values()].every(({ matchIndex }) => matchIndex === lastIndex)
    )
    for (const { id } of cluster.members) cluster.cut.add(`${mute.id}>${id}`)
    // The target stands in a term of which no other node hears.
    const first = leader.node!.transferLeadership(mute.id)
    await expect(cluster.run(first)).rejects.toThrow(TransferFailedError)
    expect(mute.status!.term).toBeGreaterThan(leader.status!.term)
    target.crash()
    const asked = cluster.clock.now()
    const second = leader.node!.transferLeadership(target.id)
    cluster.heal()
    const outcome = cluster.run(second).then(
      () => 'another leader',
      (error: Error) => error.name
    )
    expect(['another leader', 'TransferFailedError']).toContain(await outcome)
    expect(cluster.clock.now() - asked).toBeLessThanOrEqual(3 * ELECTION_MS)
    expect(leader.status!.term).toBeGreaterThanOrEqual(mute.status!.term)
  })

  it('a transfer of leadership is rejected for a target that is not another voter, and by a node that does not lead', async () => {
    await start({ joiners: ['x'] })
    for (const to of [leader.id, 'x', 'nobody']) {
      await expect(leader.node!.transferLeadership(to)).rejects.toThrow(InvalidArgumentError)
    }
    await expect(other().node!.transferLeadership(leader.id)).rejects.toThrow(NotLeaderError)
  })

  it('a transfer of leadership is rejected when the node is closed', async () => {
    await start()
    const target = other()
    cluster.isolate(target)
    const transfer = leader.node!.transferLeadership(target.id)
    transfer.catch(() => {})
    await cluster.run(leader.node!.close())
    await expect(transfer).rejects.toThrow(NotLeaderError)
  })
})
