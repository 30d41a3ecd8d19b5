import { MAX_CONFIGURATION_BYTES, MAX_MEMBERS, decode, encode, type AdminChange } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import {
  planChange,
  planJoin,
  planTakeover,
  type GroupFacts,
  type JoinRequest,
  type PlannedChange
} from '../src/peer/membership.js'
import { clusterConfig, type ConfigMember, type Invitation, type ReplicatedConfig } from '../src/state/index.js'
import { founded } from './support/linked-peer.js'

type Change = Parameters<typeof planChange>[2]

/** Peers a, b and c, and perhaps others that have joined under the incarnations given. */
function cluster(change: Partial<ReplicatedConfig> = {}, joined: Record<string, string> = {}): ReplicatedConfig {
  const base = founded(['a', 'b', 'c'], { admins: ['root'] })
  const others = Object.entries(joined).map(([peerId, incarnation]) => member(peerId, incarnation))
  return { ...base, members: [...base.members, ...others], revision: 7, ...change }
}

function member(peerId: string, incarnation = ''): ConfigMember {
  return { peerId, incarnation, addresses: [`/ip4/127.0.0.1/tcp/1/p2p/${peerId}`] }
}

function invited(peerId: string, replaces = ''): Invitation {
  return { peerId, addresses: [`/ip4/127.0.0.1/tcp/1/p2p/${peerId}`], replaces }
}

const asked = (peerId: string): { readonly peerId: string; readonly addresses: string[] } => ({
  peerId,
  addresses: [`/ip4/127.0.0.1/tcp/1/p2p/${peerId}`]
})

interface Group {
  readonly voters?: readonly string[]
  readonly learners?: readonly string[]
  /** The members that do not answer. */
  readonly silent?: readonly string[]
  /** The members that lack entries. */
  readonly behind?: readonly string[]
}

function group({ voters = ['a', 'b', 'c'], learners = [], silent = [], behind = [] }: Group = {}): GroupFacts {
  return { voters, learners, answers: (id) => !silent.includes(id), hasCaughtUp: (id) => !behind.includes(id) }
}

const plan = (config: ReplicatedConfig, change: Change, facts = group()): PlannedChange | undefined =>
  planChange(config, facts, change, 'root')

const request = (peerId: string, incarnation: string, rejoins = ''): JoinRequest => ({ peerId, incarnation, rejoins })

function refusal(attempt: () => unknown): string {
  try {
    attempt()
  } catch (error) {
    expect(error).toMatchObject({ name: 'ChangeRefusedError' })
    return (error as Error).message
  }
  throw new Error('it is not refused')
}

/** What the change made of the configuration, and the words for it. */
function made(planned: PlannedChange | undefined) {
  const { changes, config } = planned!
  return {
    changes,
    members: config.members.map(({ peerId, incarnation }) =>
      incarnation === '' ? peerId : `${peerId}/${incarnation}`
    ),
    invited: config.invited.map(({ peerId, replaces }) => (replaces === '' ? peerId : `${peerId} for ${replaces}`)),
    revision: config.revision,
    change: config.change
  }
}

describe('an invitation', () => {
  it('an invitation lists the peer with its addresses, and changes no member', () => {
    const config = cluster()
    const planned = plan(config, { type: 'addMember', member: asked('d') })
    expect(planned!.config.invited).toEqual([invited('d')])
    expect(made(planned)).toEqual({
      changes: [],
      members: ['a', 'b', 'c'],
      invited: ['d'],
      revision: 8,
      change: { by: 'root', what: 'invites d' }
    })
  })

  it('an invitation that is in force changes nothing, and one with other addresses replaces it', () => {
    const config = cluster({ invited: [invited('d'), invited('e')] })
    expect(plan(config, { type: 'addMember', member: asked('d') })).toBeUndefined()
    const moved = { peerId: 'd', addresses: ['/ip4/127.0.0.1/tcp/2/p2p/d'] }
    expect(plan(config, { type: 'addMember', member: moved })!.config.invited).toEqual([
      invited('e'),
      { ...moved, replaces: '' }
    ])
  })

  it('an invitation of a voter, or of a learner that answers, changes nothing', () => {
    const config = cluster({}, { d: '1d' })
    const facts = group({ learners: ['d/1d'], silent: ['b'] })
    for (const id of ['b', 'd']) expect(plan(config, { type: 'addMember', member: asked(id) }, facts)).toBeUndefined()
  })

  it('a learner that does not answer is invited again, because it may have lost its directory', () => {
    const config = cluster({}, { d: '1d' })
    const facts = group({ learners: ['d/1d'], silent: ['d/1d'] })
    expect(made(plan(config, { type: 'addMember', member: asked('d') }, facts))).toMatchObject({
      members: ['a', 'b', 'c', 'd/1d'],
      invited: ['d']
    })
  })

  it('an invitation of an admin or a client is refused, for a peer needs a key of its own', () => {
    const config = cluster({ clients: ['client'] })
    for (const id of ['root', 'client']) {
      expect(refusal(() => plan(config, { type: 'addMember', member: asked(id) }))).toBe(
        `the invitation of ${id} is refused: ${id} is an admin or a client, and a peer needs a key of its own`
      )
    }
  })

  it('members and invited peers together have a limit, and the largest cluster fits the configuration', () => {
    const room = MAX_MEMBERS - 3
    const config = cluster({ invited: Array.from({ length: room - 1 }, (_, i) => invited(`peer-${i}`)) })
    const full = plan(config, { type: 'addMember', member: asked('d') })!.config
    expect(decode(clusterConfig, encode(clusterConfig, full))).toEqual(full)
    expect(refusal(() => plan(full, { type: 'addMember', member: asked('e') }))).toBe(
      `the invitation of e is refused: ${MAX_MEMBERS} members and invited peers are the limit`
    )
  })
})

describe('a promotion', () => {
  const config = cluster({}, { d: '1d' })
  const promotion: Change = { type: 'promoteMember', id: 'd' }

  it('a promotion makes a learner that has caught up a voter, whichever of its ids names it', () => {
    for (const id of ['d', 'd/1d']) {
      expect(made(plan(config, { type: 'promoteMember', id }, group({ learners: ['d/1d'] })))).toEqual({
        changes: [{ type: 'voter', id: 'd/1d' }],
        members: ['a', 'b', 'c', 'd/1d'],
        invited: [],
        revision: 8,
        change: { by: 'root', what: 'promotes d/1d' }
      })
    }
  })

  it('a promotion ends an invitation of the peer that is left over, and no replacement', () => {
    const learners = ['d/1d']
    const over = cluster({ invited: [invited('d'), invited('e')] }, { d: '1d' })
    expect(made(plan(over, promotion, group({ learners }))).invited).toEqual(['e'])
    const replacing = cluster({ invited: [invited('d', 'c')] }, { d: '1d' })
    expect(made(plan(replacing, promotion, group({ learners }))).invited).toEqual(['d for c'])
  })

  it('a promotion of a peer that comes back to its own place makes its new member a voter', () => {
    const back = cluster({ invited: [invited('b', 'b')] }, { b: '2b' })
    const facts = group({ learners: ['b/2b'], silent: ['b'] })
    expect(made(plan(back, { type: 'promoteMember', id: 'b' }, facts))).toMatchObject({
      changes: [{ type: 'voter', id: 'b/2b' }],
      invited: ['b for b']
    })
  })

  it('a promotion of a voter changes nothing', () => {
    expect(plan(config, { type: 'promoteMember', id: 'b' })).toBeUndefined()
  })

  it('a promotion of a learner that lacks entries, or does not answer, is refused', () => {
    const learners = ['d/1d']
    expect(refusal(() => plan(config, promotion, group({ learners, behind: learners })))).toBe(
      'the promotion of d/1d is refused: it has not caught up: wait until its lag is gone'
    )
    expect(refusal(() => plan(config, promotion, group({ learners, silent: learners })))).toBe(
      'the promotion of d/1d is refused: it does not answer'
    )
  })

  it('a promotion after which the voters that answer are no majority is refused', () => {
    const facts = group({ learners: ['d/1d'], silent: ['b', 'c'] })
    expect(refusal(() => plan(config, promotion, facts))).toBe(
      'the promotion of d/1d is refused: only 2 of the 4 voters that would remain answer, which is no majority'
    )
  })

  it('a promotion of a peer that is no member, or is only invited, names the argument', () => {
    const invitedOnly = cluster({ invited: [invited('d')] })
    expect(() => plan(invitedOnly, promotion)).toThrow(
      expect.objectContaining({ code: 'ERR_INVALID_ARGUMENT', argument: 'member', value: 'd' })
    )
  })
})

describe('a removal', () => {
  const remove = (id: string): Change => ({ type: 'removeMember', id })

  it('a removal takes a voter or a learner out of the group and the configuration', () => {
    const config = cluster({}, { d: '1d' })
    const facts = group({ learners: ['d/1d'] })
    expect(made(plan(config, remove('d'), facts))).toEqual({
      changes: [{ type: 'removed', id: 'd/1d' }],
      members: ['a', 'b', 'c'],
      invited: [],
      revision: 8,
      change: { by: 'root', what: 'removes d/1d' }
    })
    expect(made(plan(config, remove('c'), facts))).toMatchObject({
      changes: [{ type: 'removed', id: 'c' }],
      members: ['a', 'b', 'd/1d']
    })
  })

  it('a removal of a peer that is only invited withdraws the invitation', () => {
    const config = cluster({ invited: [invited('d'), invited('e')] })
    expect(made(plan(config, remove('d')))).toEqual({
      changes: [],
      members: ['a', 'b', 'c'],
      invited: ['e'],
      revision: 8,
      change: { by: 'root', what: 'withdraws the invitation of d' }
    })
  })

  it('a removal of a peer that is neither a member nor invited changes nothing', () => {
    expect(plan(cluster(), remove('d'))).toBeUndefined()
  })

  it('a removal also withdraws the invitation of the same peer, which would join again at once', () => {
    const config = cluster({ invited: [invited('d', 'b')] }, { d: '1d' })
    const planned = plan(config, remove('d/1d'), group({ learners: ['d/1d'] }))
    expect(made(planned)).toMatchObject({ members: ['a', 'b', 'c'], invited: [] })
  })

  it('a removal leaves a peer that was to replace the member an invitation of its own, until that peer has joined', () => {
    const notJoined = cluster({ invited: [invited('d', 'b')] })
    expect(made(plan(notJoined, remove('b')))).toMatchObject({ members: ['a', 'c'], invited: ['d'] })
    const hasJoined = cluster({ invited: [invited('d', 'b')] }, { d: '1d' })
    expect(made(plan(hasJoined, remove('b'), group({ learners: ['d/1d'] })))).toMatchObject({
      members: ['a', 'c', 'd/1d'],
      invited: []
    })
  })

  it('a removal of the last voter is refused', () => {
    const config = { ...founded(['a'], { admins: ['root'] }), members: [member('a'), member('d', '1d')] }
    expect(refusal(() => plan(config, remove('a'), group({ voters: ['a'], learners: ['d/1d'] })))).toBe(
      'the removal of a is refused: it is the last voter'
    )
  })

  it('a removal after which the voters that answer are no majority is refused, whereas one of a silent voter is not', () => {
    const facts = group({ silent: ['b'] })
    expect(refusal(() => plan(cluster(), remove('c'), facts))).toBe(
      'the removal of c is refused: only 1 of the 2 voters that would remain answer, which is no majority'
    )
    expect(made(plan(cluster(), remove('b'), facts))).toMatchObject({ members: ['a', 'c'] })
  })

  it('a removal of a peer that comes back to its own place takes both of its members away, and one of a member only this', () => {
    const config = cluster({ invited: [invited('b', 'b'), invited('d')] }, { b: '2b' })
    const facts = group({ learners: ['b/2b'], silent: ['b'] })
    expect(made(plan(config, remove('b'), facts))).toEqual({
      changes: [
        { type: 'removed', id: 'b' },
        { type: 'removed', id: 'b/2b' }
      ],
      members: ['a', 'c'],
      invited: ['d'],
      revision: 8,
      change: { by: 'root', what: 'removes b and b/2b' }
    })
    expect(made(plan(config, remove('b/2b'), facts))).toMatchObject({
      changes: [{ type: 'removed', id: 'b/2b' }],
      members: ['a', 'b', 'c'],
      invited: ['d']
    })
    const lastTwo = group({ voters: ['b', 'b/2b'], silent: ['b'] })
    expect(refusal(() => plan(config, remove('b'), lastTwo))).toBe(
      'the removal of b and b/2b is refused: it is the last voter'
    )
  })
})

describe('a replacement', () => {
  const replace = (id: string, by: string): Change => ({ type: 'replaceMember', id, by: asked(by) })

  it('a replacement invites a peer with a note of the member whose place it takes', () => {
    expect(made(plan(cluster(), replace('b', 'd')))).toEqual({
      changes: [],
      members: ['a', 'b', 'c'],
      invited: ['d for b'],
      revision: 8,
      change: { by: 'root', what: 'invites d to replace b' }
    })
    const joined = cluster({}, { e: '1e' })
    expect(made(plan(joined, replace('e', 'd')))).toMatchObject({ invited: ['d for e/1e'] })
  })

  it('a replacement that is under way, or complete, changes nothing', () => {
    const underWay = cluster({ invited: [invited('d', 'b')] })
    expect(plan(underWay, replace('b', 'd'))).toBeUndefined()
    const joined = { ...underWay, members: [...underWay.members, member('d', '1d')] }
    expect(plan(joined, replace('b', 'd'), group({ learners: ['d/1d'] }))).toBeUndefined()
    const complete = { ...joined, members: joined.members.filter(({ peerId }) => peerId !== 'b'), invited: [] }
    expect(plan(complete, replace('b', 'd'), group({ voters: ['a', 'c', 'd/1d'] }))).toBeUndefined()
  })

  it('a replacement turns an invitation of the peer into one with the note, and an addition turns it back', () => {
    const noted = plan(cluster({ invited: [invited('d')] }), replace('b', 'd'))
    expect(made(noted)).toMatchObject({ invited: ['d for b'] })
    expect(made(plan(noted!.config, { type: 'addMember', member: asked('d') }))).toMatchObject({ invited: ['d'] })
  })

  it('a replacement by a member is refused', () => {
    expect(refusal(() => plan(cluster(), replace('b', 'c')))).toBe(
      'the replacement of b is refused: c is a member already'
    )
  })

  it('a replacement of a member that another peer is to replace is refused', () => {
    expect(refusal(() => plan(cluster({ invited: [invited('d', 'b')] }), replace('b', 'e')))).toBe(
      'the replacement of b is refused: d is to replace it already: remove that one first'
    )
  })

  it('a peer may replace itself if its directory is lost, but not while that answers', () => {
    expect(refusal(() => plan(cluster(), replace('b', 'b')))).toBe(
      'the replacement of b is refused: its present data directory answers: stop the peer that uses that one first'
    )
    expect(made(plan(cluster(), replace('b', 'b'), group({ silent: ['b'] })))).toMatchObject({ invited: ['b for b'] })
  })

  it('a replacement of a peer that is no member, and by one that is none, names the argument', () => {
    expect(() => plan(cluster(), replace('x', 'd'))).toThrow(
      expect.objectContaining({ code: 'ERR_INVALID_ARGUMENT', argument: 'member', value: 'x' })
    )
  })
})

describe('joining', () => {
  it('an invited peer joins as a learner under an id that names its directory, and its invitation is used', () => {
    const config = cluster({ invited: [invited('d'), invited('e')] })
    const planned = planJoin(config, group(), request('d', '1d'))
    expect(made(planned)).toEqual({
      changes: [{ type: 'learner', id: 'd/1d' }],
      members: ['a', 'b', 'c', 'd/1d'],
      invited: ['e'],
      revision: 8,
      change: { by: 'd', what: 'd/1d joins as a learner' }
    })
    expect(planned!.config.members.at(-1)).toEqual(member('d', '1d'))
  })

  it('a peer that has joined with this directory changes nothing when it asks again', () => {
    expect(planJoin(cluster({}, { d: '1d' }), group({ learners: ['d/1d'] }), request('d', '1d'))).toBeUndefined()
  })

  it('a peer that is not invited is refused, also if it is a member with another directory', () => {
    for (const [peerId, incarnation] of [
      ['d', '1d'],
      ['b', '1b']
    ] as const) {
      expect(refusal(() => planJoin(cluster(), group({ silent: ['b'] }), request(peerId, incarnation)))).toBe(
        `the join of ${peerId} is refused: no admin has invited it`
      )
    }
  })

  it('a peer that is to replace a member keeps the note when it has joined', () => {
    const config = cluster({ invited: [invited('d', 'b')] })
    expect(made(planJoin(config, group(), request('d', '1d')))).toMatchObject({
      changes: [{ type: 'learner', id: 'd/1d' }],
      members: ['a', 'b', 'c', 'd/1d'],
      invited: ['d for b']
    })
  })

  it('a learner that lost its directory before it took its place gives way to the new one in the same change', () => {
    const config = cluster({ invited: [invited('d', 'b')] }, { d: '1d' })
    const facts = group({ learners: ['d/1d'], silent: ['d/1d'] })
    expect(made(planJoin(config, facts, request('d', '2d')))).toMatchObject({
      changes: [
        { type: 'learner', id: 'd/2d' },
        { type: 'removed', id: 'd/1d' }
      ],
      members: ['a', 'b', 'c', 'd/2d'],
      invited: ['d for b']
    })
  })

  it('a learner that answers does not give way to another directory of its peer', () => {
    const config = cluster({ invited: [invited('d', 'b')] }, { d: '1d' })
    expect(refusal(() => planJoin(config, group({ learners: ['d/1d'] }), request('d', '2d')))).toBe(
      'the join of d is refused: its present data directory answers: stop the peer that uses that one first'
    )
  })

  it('an invited peer is refused while a voter has the same PeerId', () => {
    const config = cluster({ invited: [invited('d')] }, { d: '1d' })
    const facts = group({ voters: ['a', 'b', 'c', 'd/1d'], silent: ['d/1d'] })
    expect(refusal(() => planJoin(config, facts, request('d', '2d')))).toBe(
      'the join of d is refused: d/1d is a voter with the same PeerId'
    )
  })

  it('a peer that lost its directory gets its own place without an invitation, with a note of what it replaces', () => {
    expect(made(planJoin(cluster(), group({ silent: ['b'] }), request('b', '2b', 'b')))).toEqual({
      changes: [{ type: 'learner', id: 'b/2b' }],
      members: ['a', 'b', 'b/2b', 'c'],
      invited: ['b for b'],
      revision: 8,
      change: { by: 'b', what: 'b/2b joins as a learner' }
    })
  })

  it('a peer that loses its directory again while it comes back still replaces the voter', () => {
    const config = planJoin(cluster(), group({ silent: ['b'] }), request('b', '2b', 'b'))!.config
    const facts = group({ learners: ['b/2b'], silent: ['b', 'b/2b'] })
    expect(made(planJoin(config, facts, request('b', '3b', 'b')))).toMatchObject({
      changes: [
        { type: 'learner', id: 'b/3b' },
        { type: 'removed', id: 'b/2b' }
      ],
      members: ['a', 'b', 'b/3b', 'c'],
      invited: ['b for b']
    })
  })

  it('a peer that says it lost its directory is refused while that answers, and if it is no member', () => {
    expect(refusal(() => planJoin(cluster(), group(), request('b', '2b', 'b')))).toBe(
      'the join of b is refused: its present data directory answers: stop the peer that uses that one first'
    )
    expect(refusal(() => planJoin(cluster(), group(), request('x', '1x', 'x')))).toBe(
      'the join of x is refused: no admin has invited it'
    )
  })

  it('a peer that names a directory that it has given up before is refused, and its present member stays', () => {
    const facts = group({ voters: ['a', 'c', 'd/1d'], silent: ['d/1d'] })
    const config = cluster({}, { d: '1d' })
    for (const former of ['d', 'd/0d', 'b']) {
      expect(refusal(() => planJoin(config, facts, request('d', '2d', former)))).toContain('no admin has invited it')
    }
    expect(made(planJoin(config, facts, request('d', '2d', 'd/1d')))).toMatchObject({ invited: ['d for d/1d'] })
  })

  it('a peer that comes back to the largest cluster is refused, as the configuration cannot hold it twice', () => {
    const others = Array.from({ length: MAX_MEMBERS - 3 }, (_, i) => member(`peer-${i}`, 'f'))
    const config = cluster()
    const full = { ...config, members: [...config.members, ...others] }
    expect(refusal(() => planJoin(full, group({ silent: ['b'] }), request('b', '2b', 'b')))).toBe(
      `the join of b is refused: ${MAX_MEMBERS} members and invited peers are the limit`
    )
  })
})

describe('the end of a replacement', () => {
  const config = cluster({ invited: [invited('d', 'b')] }, { d: '1d' })
  const learners = ['d/1d']

  it('a replacement makes the new member a voter in place of the old one in one change', () => {
    expect(made(planTakeover(config, group({ learners }), 'a'))).toMatchObject({
      changes: [
        { type: 'voter', id: 'd/1d' },
        { type: 'removed', id: 'b' }
      ],
      revision: 8,
      change: { by: 'a', what: 'd/1d replaces b' }
    })
  })

  it('a replaced voter stays a member, with links, until it no longer counts in a joint configuration (seed 1128704115)', () => {
    const joint = planTakeover(config, group({ learners }), 'a')
    expect(made(joint)).toMatchObject({ members: ['a', 'b', 'c', 'd/1d'], invited: ['d for b'] })
    // The new member need not answer for that.
    const left = group({ voters: ['a', 'c', 'd/1d'], silent: ['d/1d'], behind: ['d/1d'] })
    expect(made(planTakeover(joint!.config, left, 'a'))).toEqual({
      changes: [],
      members: ['a', 'c', 'd/1d'],
      invited: [],
      revision: 9,
      change: { by: 'a', what: 'removes b, which d/1d has replaced' }
    })
  })

  it('a replacement does not end before the new member has joined, answers and has caught up', () => {
    const notJoined = cluster({ invited: [invited('d', 'b'), invited('e')] })
    expect(planTakeover(notJoined, group(), 'a')).toBeUndefined()
    expect(planTakeover(config, group({ learners, behind: learners }), 'a')).toBeUndefined()
    expect(planTakeover(config, group({ learners, silent: learners }), 'a')).toBeUndefined()
  })

  it('a replacement does not end while the voters that answer would be no majority', () => {
    const facts = (silent: string[]): GroupFacts => group({ learners, silent })
    expect(planTakeover(config, facts(['b']), 'a')).toBeDefined()
    expect(planTakeover(config, facts(['b', 'c']), 'a')).toBeDefined()
    const five = { ...config, members: [...config.members, member('e'), member('f')] }
    const group5 = (silent: string[]): GroupFacts => group({ voters: ['a', 'b', 'c', 'e', 'f'], learners, silent })
    expect(planTakeover(five, group5(['c', 'e', 'f']), 'a')).toBeUndefined()
  })

  it('a replacement of a learner ends with another learner', () => {
    const learning = cluster({ invited: [invited('e', 'd/1d')] }, { d: '1d', e: '1e' })
    expect(made(planTakeover(learning, group({ learners: ['d/1d', 'e/1e'] }), 'a'))).toMatchObject({
      changes: [{ type: 'removed', id: 'd/1d' }],
      members: ['a', 'b', 'c', 'e/1e']
    })
  })

  it('a replacement by a member that an admin has promoted meanwhile ends with the removal of the old one', () => {
    const facts = (silent: string[]): GroupFacts => group({ voters: ['a', 'b', 'c', 'd/1d'], silent })
    expect(made(planTakeover(config, facts(['b']), 'a'))).toMatchObject({
      changes: [{ type: 'removed', id: 'b' }],
      members: ['a', 'c', 'd/1d'],
      invited: []
    })
    // A majority of three: the new member counts once.
    expect(planTakeover(config, facts(['a', 'b', 'c']), 'a')).toBeUndefined()
  })

  it('a replacement of a member that is no voter of the group any more only removes it from the configuration', () => {
    expect(made(planTakeover(config, group({ voters: ['a', 'c'], learners }), 'a'))).toMatchObject({
      changes: [],
      members: ['a', 'c', 'd/1d']
    })
  })

  it('a peer that comes back to its own place takes it, and a peer that was invited for that place joins as another one', () => {
    const both = cluster({ invited: [invited('b', 'b'), invited('d', 'b')] }, { b: '2b' })
    const joint = planTakeover(both, group({ learners: ['b/2b'] }), 'a')
    expect(made(joint)).toMatchObject({
      changes: [
        { type: 'voter', id: 'b/2b' },
        { type: 'removed', id: 'b' }
      ]
    })
    const left = group({ voters: ['a', 'c', 'b/2b'] })
    expect(made(planTakeover(joint!.config, left, 'a'))).toMatchObject({
      members: ['a', 'c', 'b/2b'],
      invited: ['d']
    })
  })
})

describe('the size of a configuration', () => {
  const addresses = (peerId: string): string[] =>
    Array.from({ length: 16 }, (_, i) => `/dns4/${'x'.repeat(450)}/tcp/${1000 + i}/p2p/${peerId}`)
  const crowd = Array.from({ length: 58 }, (_, i) => ({
    peerId: `peer-${i}`,
    incarnation: 'f',
    addresses: addresses('p')
  }))

  it('a change or a join that would make the configuration too large for a message is refused with its size', () => {
    const config = cluster({ clients: Array.from({ length: 500 }, (_, i) => `client ${i}`.padEnd(52)) })
    const large = { ...config, members: [...config.members, ...crowd] }
    const room = MAX_CONFIGURATION_BYTES - encode(clusterConfig, large).length
    const full = { ...large, denied: Array.from({ length: Math.floor(room / 100) - 3 }, () => 'x'.repeat(96)) }
    expect(made(plan(full, { type: 'denyClient', id: 'y' }))).toMatchObject({ revision: 8 })
    const limit = / bytes is refused: 522240 bytes are the limit$/
    const wanted: Change = { type: 'addMember', member: { peerId: 'd', addresses: addresses('d') } }
    expect(refusal(() => plan(full, wanted))).toMatch(limit)
    const coming = { ...full, members: [...full.members, { ...member('d'), addresses: addresses('d') }] }
    expect(refusal(() => planJoin(coming, group({ silent: ['d'] }), request('d', '2d', 'd')))).toMatch(limit)
  })
})

describe('other changes', () => {
  it('a change of access or of the round trip changes no member, and raises the revision', () => {
    const changes: [Exclude<AdminChange, { type: 'transferLeadership' }>, string][] = [
      [{ type: 'denyClient', id: 'x' }, 'denies client x'],
      [{ type: 'addAdmin', id: 'x' }, 'adds admin x'],
      [{ type: 'setRoundTrip', roundTripMs: 64 }, 'sets the round trip to 64 ms']
    ]
    for (const [change, what] of changes) {
      expect(made(plan(cluster(), change))).toEqual({
        changes: [],
        members: ['a', 'b', 'c'],
        invited: [],
        revision: 8,
        change: { by: 'root', what }
      })
    }
  })

  it('a round trip that is in force changes nothing, and one out of range names the argument', () => {
    expect(plan(cluster(), { type: 'setRoundTrip', roundTripMs: 32 })).toBeUndefined()
    expect(() => plan(cluster(), { type: 'setRoundTrip', roundTripMs: 5 })).toThrow(
      expect.objectContaining({ code: 'ERR_INVALID_ARGUMENT', argument: 'roundTripMs' })
    )
  })
})
