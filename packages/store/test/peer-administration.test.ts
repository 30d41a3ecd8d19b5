/** An admin changes a cluster of whole peers. */
import {
  MAX_CONTROL_FRAME_BYTES,
  PROTOCOL_CONTROL,
  PROTOCOL_VERSION,
  clientMessage,
  decodeFrame,
  encodeFrame,
  leaderMessage,
  type AdminChange,
  type ClientMessage,
  type LeaderMessage
} from '@quire/protocol'
import pino, { type Logger } from 'pino'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { PeerCluster, type ClusterPeer } from './support/peer-cluster.js'

const ADMIN = '12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X'
const OTHER = '12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp'
const version = PROTOCOL_VERSION
const DENY: AdminChange = { type: 'denyClient', id: OTHER }

interface Line {
  readonly msg: string
  readonly self: string
  readonly revision?: number
}

let lines: Line[]
let cluster: PeerCluster
let leader: ClusterPeer
let followers: ClusterPeer[]

beforeEach(async () => {
  lines = []
  cluster = new PeerCluster(['a', 'b', 'c'], { config: { admins: [ADMIN] }, logger: collector() })
  await cluster.start()
  leader = cluster.leader!
  followers = cluster.peers.filter((peer) => peer !== leader)
})

afterEach(async () => {
  await cluster.stop()
  expect(cluster.peers.flatMap(({ fatal }) => fatal)).toEqual([])
  await cluster.clock.advance(100)
  expect(cluster.clock.pending).toBe(0)
})

function collector(): Logger {
  return pino({ level: 'info', base: null }, { write: (line) => void lines.push(JSON.parse(line) as Line) })
}

/** Sends one message on a new control stream. Resolves with the answer. */
async function ask(to: ClusterPeer, message: ClientMessage, as = ADMIN): Promise<LeaderMessage> {
  const options = { protocol: PROTOCOL_CONTROL, maxFrameBytes: MAX_CONTROL_FRAME_BYTES }
  const stream = await cluster.network(as).dial(to.id, [], options)
  return new Promise((resolve, reject) => {
    stream.onFrame = (frame) => resolve(decodeFrame(leaderMessage, frame).message)
    stream.onClose = (reason) => reject(reason ?? new Error('closed without an answer'))
    stream.send(encodeFrame(clientMessage, message, 0))
  })
}

interface Asked {
  readonly to?: ClusterPeer
  readonly as?: string
  readonly founding?: string
}

function change(wanted: AdminChange, { to = leader, as, founding = '' }: Asked = {}): Promise<LeaderMessage> {
  return cluster.run(ask(to, { type: 'administer', version, founding, change: wanted }, as))
}

const configs = (): unknown[] => cluster.peers.map(({ core }) => core.config)

describe('a cluster that an admin changes', () => {
  it('a change takes effect on each peer when that peer applies it, and repeating it changes nothing', async () => {
    const made = await change(DENY)
    expect(made).toEqual({ type: 'administered', index: leader.status.lastIndex })
    await cluster.converge()
    const config = {
      ...cluster.config,
      denied: [OTHER],
      revision: 1,
      change: { by: ADMIN, what: `denies client ${OTHER}` }
    }
    expect(configs()).toEqual([config, config, config])
    expect(await change(DENY)).toEqual({ type: 'administered', index: 0 })
    expect(leader.core.config.revision).toBe(1)
  })

  it('a peer that follows redirects an admin to the leader', async () => {
    for (const to of followers) {
      expect(await change(DENY, { to })).toMatchObject({ type: 'redirect', leader: leader.id, role: 'follower' })
      expect(await cluster.run(ask(to, { type: 'roster', version }))).toMatchObject({
        type: 'redirect',
        leader: leader.id
      })
    }
    expect(leader.core.config.revision).toBe(0)
  })

  it('a change of an identity that is no admin, or of another cluster, is refused', async () => {
    expect(await change(DENY, { as: OTHER })).toEqual({
      type: 'refused',
      error: {
        code: 'ERR_NOT_AUTHORIZED',
        facts: [OTHER, 'it is no admin of the cluster; quire clients list shows the admins']
      }
    })
    const { founding } = leader.core.status()
    const pinned = 'f'.repeat(64)
    expect(await change(DENY, { founding: pinned })).toEqual({
      type: 'refused',
      error: {
        code: 'ERR_NOT_AUTHORIZED',
        facts: [ADMIN, `it means the cluster with founding digest ${pinned}, this one has ${founding}`]
      }
    })
    expect(await change(DENY, { founding })).toMatchObject({ type: 'administered' })
  })

  it('an admin that was added changes the cluster at once, and one that was removed no longer does', async () => {
    await change({ type: 'addAdmin', id: OTHER })
    expect(await change({ type: 'removeAdmin', id: ADMIN }, { as: OTHER })).toMatchObject({ type: 'administered' })
    expect(await change(DENY)).toMatchObject({ type: 'refused', error: { code: 'ERR_NOT_AUTHORIZED' } })
    expect(await change({ type: 'removeAdmin', id: OTHER }, { as: OTHER })).toMatchObject({
      type: 'refused',
      error: { code: 'ERR_CHANGE_REFUSED' }
    })
  })

  it('a change of a leader that is cut off from the others ends when it gives up', async () => {
    cluster.isolate(leader)
    expect(await change(DENY)).toEqual({
      type: 'refused',
      error: { code: 'ERR_UNAVAILABLE', facts: ['this peer leads no longer; the change may be lost'] }
    })
    await cluster.until(() => cluster.leader !== undefined)
    cluster.heal()
    await cluster.converge()
    expect(leader.core.config.revision).toBe(0)
  })

  it('leadership moves to the peer that an admin names, and then to any other', async () => {
    const [next] = followers as [ClusterPeer, ClusterPeer]
    const moved = await change({ type: 'transferLeadership', id: next.id })
    expect(moved).toEqual({ type: 'administered', index: 0 })
    expect(cluster.leader?.id ?? next.id).toBe(next.id)
    await cluster.until(() => cluster.leader === next)
    await change({ type: 'transferLeadership', id: '' }, { to: next })
    await cluster.until(() => cluster.leader !== undefined && cluster.leader !== next)
  })

  it('a voter that is removed is no member any more, and the rest is a cluster of two', async () => {
    const [gone, kept] = followers as [ClusterPeer, ClusterPeer]
    await change({ type: 'removeMember', id: gone.id })
    await cluster.until(() => kept.core.config.revision === 1)
    for (const { core } of [leader, kept]) {
      expect(core.config.members.map(({ peerId }) => peerId).sort()).toEqual([leader.id, kept.id].sort())
      expect(core.status().voters).toHaveLength(2)
    }
    expect(await change({ type: 'removeMember', id: gone.id })).toEqual({ type: 'administered', index: 0 })
    const before = leader.status.commitIndex
    await change(DENY)
    expect(leader.status.commitIndex).toBeGreaterThan(before)
  })

  it('the removal of a voter is refused once another one is silent', async () => {
    const [silent, other] = followers as [ClusterPeer, ClusterPeer]
    cluster.isolate(silent)
    await cluster.clock.advance(1_500)
    expect(await change({ type: 'removeMember', id: other.id })).toMatchObject({
      type: 'refused',
      error: {
        code: 'ERR_CHANGE_REFUSED',
        facts: [`the removal of ${other.id}`, expect.stringContaining('only 1 of the 2 voters')]
      }
    })
    expect(await change({ type: 'removeMember', id: silent.id })).toMatchObject({ type: 'administered' })
  })

  it('a leader that is removed hands on, and the others go on', async () => {
    expect(await change({ type: 'removeMember', id: leader.id })).toMatchObject({ type: 'administered' })
    await cluster.until(() => followers.some(({ status }) => status.ready))
    for (const { core } of followers) expect(core.status().voters).toHaveLength(2)
  })

  it('a leader lists its members, of which all are up to date after two election timeouts', async () => {
    await cluster.clock.advance(1_500)
    const answer = await cluster.run(ask(leader, { type: 'roster', version }, OTHER))
    const { lastIndex: matchIndex } = leader.status
    expect(answer).toEqual({
      type: 'roster',
      lastIndex: matchIndex,
      members: ['a', 'b', 'c'].map((id) => ({ id, role: 'voter', matchIndex, answers: true, hasCaughtUp: true })),
      invited: []
    })
  })
})

describe('what peers log of changes', () => {
  const changes = (): Line[] => lines.filter(({ msg }) => msg === 'the cluster was changed')

  it('each peer logs who has changed the cluster, and how, but not its founding', async () => {
    await cluster.clock.advance(1_000)
    expect(changes()).toEqual([])
    await change(DENY)
    await cluster.converge()
    const line = { level: 30, revision: 1, by: ADMIN, change: `denies client ${OTHER}` }
    expect(changes().sort((one, other) => (one.self < other.self ? -1 : 1))).toEqual(
      ['a', 'b', 'c'].map((self) => expect.objectContaining({ ...line, self }) as unknown)
    )
  })

  it('a peer logs each change once, also if it applies the configuration again', async () => {
    await change(DENY)
    await cluster.converge()
    for (const { core } of cluster.peers) core.configured(core.config)
    expect(changes()).toHaveLength(3)
    await change({ type: 'allowClient', id: OTHER })
    await cluster.converge()
    expect(changes().map(({ revision }) => revision)).toEqual([1, 1, 1, 2, 2, 2])
  })
})
