/** Changes of a leader on a Raft node that the test plays. */
import { decode, type AdminChange } from '@quire/protocol'
import {
  BackPressureError,
  ChangePendingError,
  NotLeaderError,
  TransferFailedError,
  type FollowerProgress,
  type MembershipChange,
  type RaftNode,
  type RaftStatus
} from '@quire/raft'
import { FakeClock, settle } from '@quire/testing'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Administration } from '../src/peer/administration.js'
import { encodeCluster } from '../src/peer/cluster.js'
import { clusterConfig, type ReplicatedConfig } from '../src/state/index.js'
import { founded } from './support/linked-peer.js'

const ADMIN = '12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X'
const CLIENT = '12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp'
const DENY: AdminChange = { type: 'denyClient', id: CLIENT }
const LATE_MS = 5_000

const UP: FollowerProgress = { matchIndex: 9, answers: true, hasCaughtUp: true }

/** A Raft node a that leads b and c. It takes one change at a time, which is pending until the test applies it. */
class PlayedNode {
  role: RaftStatus['role'] = 'leader'
  ready = true
  leader: string | undefined = 'a'
  term = 3
  lastIndex = 9
  voters = ['a', 'b', 'c']
  learners: string[] = []
  outgoing: string[] = []
  config: ReplicatedConfig = founded(['a', 'b', 'c'], { admins: [ADMIN] })
  /** The index of the change that is not committed yet. */
  pending: number | undefined
  /** The next proposals fail with this. */
  failure: Error | undefined
  readonly progress = new Map([
    ['b', UP],
    ['c', UP]
  ])
  readonly changes: (readonly MembershipChange[])[] = []
  readonly transfers: (string | undefined)[] = []
  transferred: () => Promise<void> = () => Promise.resolve()
  /** A majority confirms that it leads. */
  confirmed: () => Promise<number> = () => Promise.resolve(this.lastIndex)

  get context(): Uint8Array {
    return encodeCluster(this.config)
  }

  status() {
    const { role, ready, leader, term, lastIndex, voters, learners, outgoing, pending = 9 } = this
    const indexes = { lastIndex, configurationIndex: pending, appliedIndex: (this.pending ?? lastIndex + 1) - 1 }
    return { id: 'a', role, ready, leader, term, ...indexes, voters, learners, outgoing }
  }

  followers(): ReadonlyMap<string, FollowerProgress> {
    return this.progress
  }

  changeMembership(changes: readonly MembershipChange[], context: Uint8Array) {
    if (this.failure !== undefined) throw this.failure
    if (this.pending !== undefined) throw new ChangePendingError(this.pending)
    this.changes.push(changes)
    this.config = decode(clusterConfig, context)
    this.pending = ++this.lastIndex
    return { index: this.lastIndex, term: this.term }
  }

  readIndex(): Promise<number> {
    return this.confirmed()
  }

  transferLeadership(to?: string): Promise<void> {
    this.transfers.push(to)
    return this.transferred()
  }

  /** Another node leads. */
  follow(leader: string | undefined): void {
    this.role = 'follower'
    this.ready = false
    this.leader = leader
  }
}

let clock: FakeClock
let node: PlayedNode
let administration: Administration

beforeEach(() => {
  clock = new FakeClock()
  node = new PlayedNode()
  administration = new Administration({ self: 'a', node: node as unknown as RaftNode, clock, logger: undefined })
})

afterEach(async () => {
  administration.close()
  await clock.advance(1_000)
  expect(clock.pending).toBe(0)
})

/** How the call ends: its result, or its error. Undefined while it goes on. */
interface Outcome {
  result?: unknown
  error?: Error & { readonly code?: string }
}

function watch(call: Promise<unknown>): Outcome {
  const outcome: Outcome = {}
  call.then(
    (result) => (outcome.result = result),
    (error: Error) => (outcome.error = error)
  )
  return outcome
}

const change = (wanted: AdminChange = DENY, by = ADMIN): Outcome => watch(administration.change(by, wanted))

/** The pending entry is committed and applied. */
async function apply(term = node.term): Promise<void> {
  const { pending } = node
  node.pending = undefined
  administration.applied(pending!, term)
  await settle()
}

describe('changes that a leader makes', () => {
  it('a change is made when its entry is applied, and its answer is the index', async () => {
    const made = change()
    await settle()
    expect(made).toEqual({})
    expect(node.config).toMatchObject({ denied: [CLIENT], revision: 1, change: { by: ADMIN } })
    administration.applied(node.pending! - 1, node.term)
    await settle()
    expect(made).toEqual({})
    await apply()
    expect(made).toEqual({ result: 10 })
  })

  it('a change that is in force already is answered with 0, and adds no entry', async () => {
    node.config = { ...node.config, denied: [CLIENT] }
    const made = change()
    await settle()
    expect(made).toEqual({ result: 0 })
    expect(node.changes).toEqual([])
  })

  it('a change is not answered as in force by a leader that a majority does not confirm', async () => {
    node.config = { ...node.config, denied: [CLIENT] }
    let refuse = (_error: Error): void => {}
    node.confirmed = () => new Promise((_, reject) => (refuse = reject))
    const made = change()
    await settle()
    expect(made).toEqual({})
    node.follow('b')
    refuse(new NotLeaderError('a', 'b'))
    await settle()
    expect(made.error).toMatchObject({ name: 'NotLeaderError', leader: 'b' })
    node.confirmed = () => Promise.reject(new BackPressureError('reads', 1, 1))
    node.role = 'leader'
    node.ready = true
    const busy = change()
    await settle()
    expect(busy.error).toMatchObject({ name: 'UnavailableError' })
  })

  it('a change that another one undoes while a majority confirms the leader is made again', async () => {
    node.config = { ...node.config, denied: [CLIENT] }
    let confirm = (_index: number): void => {}
    node.confirmed = () => new Promise((resolve) => (confirm = resolve))
    const made = change()
    await settle()
    const undone = change({ type: 'allowClient', id: CLIENT })
    await settle()
    await apply()
    expect(undone).toEqual({ result: 10 })
    confirm(9)
    await clock.advance(100)
    expect(node.config.denied).toEqual([CLIENT])
    await apply()
    expect(made).toEqual({ result: 11 })
  })

  it('a change that is repeated before it is committed is answered when it is', async () => {
    const first = change()
    await settle()
    const again = change()
    await clock.advance(1_000)
    expect(again).toEqual({})
    await apply()
    await clock.advance(1_000)
    expect(first).toEqual({ result: 10 })
    expect(again).toEqual({ result: 0 })
  })

  it('a change that is repeated, and is not committed for five seconds, has an unknown outcome', async () => {
    const first = change()
    const again = change()
    await clock.advance(LATE_MS + 1_000)
    expect(first).toEqual({})
    expect(again.error).toMatchObject({ name: 'UnavailableError' })
  })

  it('a change is refused on a peer that does not lead, or that has not applied an entry of its term', async () => {
    node.ready = false
    const unready = change()
    node.follow('b')
    const following = change()
    await settle()
    expect(unready.error).toMatchObject({ name: 'NotLeaderError', leader: undefined })
    expect(following.error).toMatchObject({ name: 'NotLeaderError', leader: 'b' })
  })

  it('a change is refused to an identity that is no admin, whatever the change', async () => {
    for (const wanted of [DENY, { type: 'transferLeadership', id: '' }] satisfies AdminChange[]) {
      const made = change(wanted, CLIENT)
      await settle()
      expect(made.error).toMatchObject({
        code: 'ERR_NOT_AUTHORIZED',
        who: CLIENT,
        reason: 'it is no admin of the cluster; quire clients list shows the admins'
      })
    }
    expect([node.changes, node.transfers]).toEqual([[], []])
  })

  it('a change names an identity by its PeerId, which the leader checks', async () => {
    const wrong: [AdminChange, string][] = [
      [{ type: 'allowClient', id: 'nobody' }, 'client'],
      [{ type: 'denyClient', id: 'nobody' }, 'client'],
      [{ type: 'addAdmin', id: 'any' }, 'admin'],
      [{ type: 'removeAdmin', id: 'x' }, 'admin'],
      [{ type: 'addMember', member: { peerId: 'd', addresses: ['/ip4/127.0.0.1/tcp/1'] } }, 'addresses'],
      [{ type: 'addMember', member: { peerId: CLIENT, addresses: [] } }, 'addresses'],
      [{ type: 'replaceMember', id: 'b', by: { peerId: CLIENT, addresses: ['/ip4/0.0.0.0/tcp/1'] } }, 'addresses']
    ]
    for (const [wanted, argument] of wrong) {
      const made = change(wanted)
      await settle()
      expect(made.error, JSON.stringify(wanted)).toMatchObject({ code: 'ERR_INVALID_ARGUMENT', argument })
    }
    const any = change({ type: 'denyClient', id: 'any' })
    await apply()
    expect(any).toEqual({ result: 10 })
  })

  it('the addresses of an invited peer get its PeerId at their end', async () => {
    change({ type: 'addMember', member: { peerId: CLIENT, addresses: ['/ip4/127.0.0.1/tcp/1'] } })
    await apply()
    expect(node.config.invited).toEqual([
      { peerId: CLIENT, addresses: [`/ip4/127.0.0.1/tcp/1/p2p/${CLIENT}`], replaces: '' }
    ])
  })
})

describe('changes that wait', () => {
  it('a change waits for the one before it, and starts from its configuration', async () => {
    const first = change()
    const second = change({ type: 'addAdmin', id: CLIENT })
    await clock.advance(500)
    expect([first, second, node.changes.length]).toEqual([{}, {}, 1])
    await apply()
    await clock.advance(100)
    await apply()
    expect([first, second]).toEqual([{ result: 10 }, { result: 11 }])
    expect(node.config).toMatchObject({ admins: [CLIENT, ADMIN], denied: [], revision: 2 })
  })

  it('a change is refused if the one before it is not committed for five seconds', async () => {
    node.pending = 7
    const made = change()
    await clock.advance(LATE_MS - 100)
    expect(made).toEqual({})
    await clock.advance(200)
    expect(made.error?.message).toBe(
      `denyClient ${CLIENT} is refused: an earlier change (entry 7) is not committed yet`
    )
  })

  it('a change that waits is refused when the one before it removes its admin', async () => {
    node.config = { ...node.config, admins: [CLIENT, ADMIN] }
    const first = change({ type: 'removeAdmin', id: ADMIN }, CLIENT)
    const second = change()
    await settle()
    await apply()
    await clock.advance(100)
    expect(first).toEqual({ result: 10 })
    expect(second.error).toMatchObject({ code: 'ERR_NOT_AUTHORIZED', who: ADMIN })
  })

  it('a change that waits is redirected when this peer leads no longer', async () => {
    node.pending = 7
    const made = change()
    await clock.advance(100)
    node.follow('b')
    administration.statusChanged()
    await clock.advance(100)
    expect(made.error).toMatchObject({ name: 'NotLeaderError', leader: 'b' })
  })

  it('a change whose leader leads no longer has an unknown outcome', async () => {
    const made = change()
    await settle()
    administration.statusChanged()
    await settle()
    expect(made).toEqual({})
    node.follow(undefined)
    administration.statusChanged()
    await settle()
    expect(made.error).toMatchObject({ code: 'ERR_UNAVAILABLE' })
    expect(made.error?.message).toContain('this peer leads no longer; the change may be lost')
  })

  it("a change is lost if another leader's entry is applied in its place", async () => {
    const made = change()
    await settle()
    await apply(node.term + 1)
    expect(made.error).toMatchObject({ code: 'ERR_UNAVAILABLE' })
    expect(made.error?.message).toContain('another leader was elected, and the change was lost')
  })

  it('a change has an unknown outcome if the peer stops, and one that waits is refused', async () => {
    const first = change()
    const second = change({ type: 'addAdmin', id: CLIENT })
    await settle()
    administration.close()
    await clock.advance(100)
    expect(first.error?.message).toContain('this peer is stopping; the change may be lost')
    expect(second.error).toMatchObject({ code: 'ERR_CHANGE_REFUSED' })
  })

  it('a change is unavailable while the log has no room for it', async () => {
    node.failure = new BackPressureError('proposed bytes', 10, 10)
    const made = change()
    await settle()
    expect(made.error).toMatchObject({ code: 'ERR_UNAVAILABLE' })
    expect(made.error?.message).toContain('proposed bytes: 10 of 10 in use')
  })

  it('a leader makes a limited number of changes at once, and takes others when these have ended', async () => {
    node.pending = 7
    const waiting = Array.from({ length: 16 }, () => change())
    const further = change()
    await settle()
    expect(further.error).toMatchObject({ code: 'ERR_QUOTA', limit: 16 })
    await clock.advance(LATE_MS + 100)
    expect(waiting.every(({ error }) => error?.code === 'ERR_CHANGE_REFUSED')).toBe(true)
    node.pending = undefined
    const next = change()
    await settle()
    await apply()
    expect(next).toEqual({ result: 10 })
  })
})

describe('transfers of leadership by an admin', () => {
  const transfer = (id: string): Outcome => change({ type: 'transferLeadership', id })

  it('leadership moves to the voter that the admin names, or to the best one', async () => {
    node.voters = ['a', 'b/1b', 'c']
    const outcomes = ['c', 'b', ''].map((id) => transfer(id))
    await settle()
    expect(outcomes).toEqual([{ result: 0 }, { result: 0 }, { result: 0 }])
    expect(node.transfers).toEqual(['c', 'b/1b', undefined])
    expect(node.changes).toEqual([])
  })

  it('leadership moves to the voter that answers if a PeerId names two', async () => {
    node.voters = ['a', 'b', 'b/2b', 'c']
    node.progress.delete('b')
    node.progress.set('b/2b', UP)
    const outcome = transfer('b')
    await settle()
    expect([outcome, node.transfers]).toEqual([{ result: 0 }, ['b/2b']])
  })

  it('leadership stays if the voter that the admin names leads already', async () => {
    const outcome = transfer('a')
    await settle()
    expect([outcome, node.transfers]).toEqual([{ result: 0 }, []])
  })

  it('leadership does not move to a peer that does not vote, nor if no other peer votes', async () => {
    node.learners = ['d']
    node.config = founded(['a', 'b', 'c', 'd'], { admins: [ADMIN] })
    const learner = transfer('d')
    const stranger = transfer('x')
    node.voters = ['a']
    const lone = transfer('')
    await settle()
    expect(learner.error?.message).toBe('the transfer of leadership to d is refused: it is no voter')
    expect(stranger.error?.message).toBe('member is "x", must be a member of the cluster')
    expect(lone.error?.message).toBe('the transfer of leadership is refused: no other peer votes')
    expect(node.transfers).toEqual([])
  })

  it('leadership that the other peer does not take over stays, which the answer says', async () => {
    node.transferred = () => Promise.reject(new TransferFailedError('b'))
    const failed = transfer('b')
    node.transferred = () => Promise.reject(new NotLeaderError('a', 'c'))
    const lost = transfer('b')
    await settle()
    expect(failed.error?.message).toBe('the transfer of leadership to b is refused: b did not take over leadership')
    expect(lost.error).toMatchObject({ name: 'NotLeaderError', leader: 'c' })
  })
})

describe('the roster of a leader', () => {
  it('a leader lists voters, learners, leaving voters and invited peers, with what it knows of them', () => {
    node.voters = ['a', 'b']
    node.learners = ['d/1d']
    node.outgoing = ['b', 'c']
    node.progress.set('c', { matchIndex: 4, answers: true, hasCaughtUp: false })
    node.config = { ...node.config, invited: [{ peerId: 'd', addresses: [], replaces: 'c' }] }
    expect(administration.roster()).toEqual({
      lastIndex: 9,
      members: [
        { id: 'a', role: 'voter', matchIndex: 9, answers: true, hasCaughtUp: true },
        { id: 'b', role: 'voter', matchIndex: 9, answers: true, hasCaughtUp: true },
        { id: 'd/1d', role: 'learner', matchIndex: 0, answers: false, hasCaughtUp: false },
        { id: 'c', role: 'outgoing', matchIndex: 4, answers: true, hasCaughtUp: false }
      ],
      invited: [{ peerId: 'd', replaces: 'c' }]
    })
  })

  it('a peer that does not lead has no roster', () => {
    node.follow('b')
    expect(administration.roster()).toBeUndefined()
  })
})

describe('peers that join', () => {
  const addresses = [`/ip4/127.0.0.1/tcp/1/p2p/${CLIENT}`]
  const request = { peerId: CLIENT, addresses, incarnation: '1d', rejoins: '' }

  it('a join ends when its entry is applied, and at once if the peer is a member already', async () => {
    node.config = { ...node.config, invited: [{ peerId: CLIENT, addresses, replaces: '' }] }
    const joined = watch(administration.join(request))
    await settle()
    expect(joined).toEqual({})
    expect(node.changes).toEqual([[{ type: 'learner', id: `${CLIENT}/1d` }]])
    await apply()
    expect(joined).toEqual({ result: undefined })
    expect('result' in joined).toBe(true)
    const again = watch(administration.join(request))
    await settle()
    expect('result' in again).toBe(true)
    expect(node.changes).toHaveLength(1)
  })

  it('a join of a peer that is not invited is refused, and one at another peer is redirected', async () => {
    const refused = watch(administration.join(request))
    node.follow('b')
    const redirected = watch(administration.join(request))
    await settle()
    expect(refused.error?.message).toBe(`the join of ${CLIENT} is refused: no admin has invited it`)
    expect(redirected.error).toMatchObject({ name: 'NotLeaderError', leader: 'b' })
  })
})

describe('replacements that a leader completes', () => {
  beforeEach(() => {
    const { members } = node.config
    const d = { peerId: 'd', incarnation: '1d', addresses: [] }
    node.config = { ...node.config, members: [...members, d], invited: [{ peerId: 'd', addresses: [], replaces: 'c' }] }
    node.learners = ['d/1d']
  })

  it('a leader completes a replacement within a second after the new member has caught up', async () => {
    node.progress.set('d/1d', { matchIndex: 3, answers: true, hasCaughtUp: false })
    await clock.advance(5_000)
    expect(node.changes).toEqual([])
    node.progress.set('d/1d', UP)
    await clock.advance(1_000)
    expect(node.changes).toEqual([
      [
        { type: 'voter', id: 'd/1d' },
        { type: 'removed', id: 'c' }
      ]
    ])
    expect(node.config).toMatchObject({ change: { by: 'a', what: 'd/1d replaces c' } })
    await clock.advance(5_000)
    expect(node.changes).toHaveLength(1)
  })

  it('a leader removes a replaced member when the cluster has left the joint configuration', async () => {
    node.progress.set('d/1d', UP)
    await clock.advance(1_000)
    await apply()
    node.voters = ['a', 'b', 'd/1d']
    node.learners = []
    administration.configured()
    await clock.advance(10)
    expect(node.changes[1]).toEqual([])
    expect(node.config).toMatchObject({ invited: [], change: { what: 'removes c, which d/1d has replaced' } })
    expect(node.config.members.map(({ peerId }) => peerId)).toEqual(['a', 'b', 'd'])
  })

  it('a leader completes a replacement later if another change is not committed yet', async () => {
    node.progress.set('d/1d', UP)
    node.pending = 7
    await clock.advance(2_000)
    expect(node.changes).toEqual([])
    node.pending = undefined
    await clock.advance(1_000)
    expect(node.changes).toHaveLength(1)
  })

  it('a peer that does not lead, or not yet, completes no replacement', async () => {
    node.progress.set('d/1d', UP)
    node.ready = false
    await clock.advance(2_000)
    expect(node.changes).toEqual([])
    node.ready = true
    await clock.advance(1_000)
    expect(node.changes).toHaveLength(1)
  })
})
