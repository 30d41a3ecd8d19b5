import {
  FEATURES,
  NotAuthorizedError,
  PROTOCOL_RAFT,
  PROTOCOL_VERSION,
  VersionMismatchError,
  decodeFrame,
  encodeFrame,
  errorToWire,
  raftMessage,
  type QuireError,
  type RaftStreamMessage,
  type RefusalReason
} from '@quire/protocol'
import { FakeClock, FakeNet, settle } from '@quire/testing'
import pino from 'pino'
import { describe, expect, it } from 'vitest'
import { encodeCluster } from '../src/peer/cluster.js'
import { NOT_INVITED, joinRefusal } from '../src/peer/join-refusal.js'
import { askToJoin, type JoinedCluster, type JoiningInit } from '../src/peer/joining.js'
import type { JoinMessage } from '../src/peer/peer-links.js'
import type { ReplicatedConfig } from '../src/state/index.js'
import { collector, founded } from './support/linked-peer.js'

const NEWCOMER = 'x'
const FOUNDING = founded(['a', 'b', 'c'])

type Reply = (request: JoinMessage) => RaftStreamMessage | undefined

/** Members that answer what a test says, and a newcomer that asks them. */
class Members {
  readonly clock = new FakeClock()
  readonly net = new FakeNet(this.clock)
  /** The members that were asked, and the incarnation that each question named. */
  readonly asked: string[] = []
  readonly logged: { readonly msg: string; readonly reason?: string; readonly advice?: string }[] = []

  answer(member: string, reply: Reply): void {
    this.net.listen(member, PROTOCOL_RAFT, (stream) => {
      stream.onFrame = (frame) => {
        const { message } = decodeFrame(raftMessage, frame)
        this.asked.push(`${member} ${(message as JoinMessage).incarnation}`)
        const answer = reply(message as JoinMessage)
        if (answer !== undefined) stream.send(encodeFrame(raftMessage, answer))
      }
    })
  }

  ask(own?: { readonly incarnation: string; readonly cluster: JoinedCluster }, change: Partial<JoiningInit> = {}) {
    const outcome: { cluster?: JoinedCluster; error?: unknown } = {}
    const init: JoiningInit = {
      network: this.net.node(NEWCOMER),
      clock: this.clock,
      seeds: [{ peerId: 'a', addresses: ['/ip4/192.0.2.1/tcp/1/p2p/a'] }],
      rejoins: '',
      advice: 'quire members add x',
      logger: pino({}, collector(this.logged)),
      ...change
    }
    askToJoin(init, own).then(
      (cluster) => (outcome.cluster = cluster),
      (error: unknown) => (outcome.error = error)
    )
    return outcome
  }
}

function invited(config: ReplicatedConfig, leader = ''): RaftStreamMessage {
  return { type: 'raftInvited', founding: encodeCluster(FOUNDING), config: encodeCluster(config), leader }
}

function refused(error: QuireError, reason: RefusalReason): RaftStreamMessage {
  return { type: 'raftRefused', error: errorToWire(error), reason, founding: undefined }
}

const UNINVITED = refused(new NotAuthorizedError(NEWCOMER, NOT_INVITED), 'membership')
const JOINED: ReplicatedConfig = {
  ...FOUNDING,
  revision: 2,
  members: [...FOUNDING.members, { peerId: NEWCOMER, incarnation: 'f0', addresses: [] }]
}

describe('a peer that asks to join', () => {
  it('a peer that is not invited asks again, logs once what an admin must do, and gets both configurations when it is', async () => {
    const members = new Members()
    let isInvited = false
    members.answer('a', () => (isInvited ? invited({ ...FOUNDING, revision: 1 }) : UNINVITED))
    const outcome = members.ask()
    await members.clock.advance(10_000)
    expect(members.asked.length).toBeGreaterThan(3)
    expect(members.logged).toMatchObject([
      { reason: expect.stringContaining('no admin'), advice: 'quire members add x' }
    ])
    expect(outcome).toEqual({})
    isInvited = true
    await members.clock.advance(3_000)
    expect(outcome.cluster).toEqual({ founding: FOUNDING, config: { ...FOUNDING, revision: 1 } })
  })

  it('a member that asks with the wrong directory is not advised to ask for an invitation', async () => {
    const members = new Members()
    const reason = 'it is a member with another data directory'
    members.answer('a', () => refused(new NotAuthorizedError(NEWCOMER, reason), 'membership'))
    members.ask()
    await members.clock.advance(3_000)
    expect(members.logged).toMatchObject([{ reason: expect.stringContaining(reason) }])
    expect(members.logged[0]).not.toHaveProperty('advice')
  })

  it('a peer with a directory asks the leader that a member names, until the configuration lists the directory', async () => {
    const members = new Members()
    const cluster = { founding: FOUNDING, config: { ...FOUNDING, revision: 1 } }
    members.answer('a', () => invited(cluster.config, 'c'))
    let applied = cluster.config
    members.answer('c', () => invited(applied, 'c'))
    const outcome = members.ask({ incarnation: 'f0', cluster })
    await settle()
    expect(members.asked).toEqual(['a f0', 'c f0'])
    applied = JOINED
    await members.clock.advance(20_000)
    expect(outcome.cluster?.config).toEqual(JOINED)
  })

  it('a directory of another incarnation in the configuration does not count as this one', async () => {
    const members = new Members()
    members.answer('a', () => invited(JOINED, 'a'))
    const outcome = members.ask({ incarnation: 'f1', cluster: { founding: FOUNDING, config: FOUNDING } })
    await members.clock.advance(10_000)
    expect(outcome).toEqual({})
  })

  it('a peer asks the next member if one is gone, hangs, or ends the stream', async () => {
    const members = new Members()
    members.net.down.add('a')
    members.answer('b', () => undefined)
    members.answer('c', () => invited(JOINED, 'c'))
    const outcome = members.ask({ incarnation: 'f0', cluster: { founding: FOUNDING, config: FOUNDING } })
    await members.clock.advance(30_000)
    expect(members.asked).toEqual(['b f0', 'c f0'])
    expect(outcome.cluster?.config).toEqual(JOINED)
  })

  it('a peer asks the next member if the answer of one is damaged', async () => {
    const members = new Members()
    const damaged = Uint8Array.of(0xff, 0xff)
    members.answer('a', () => ({ type: 'raftInvited', founding: damaged, config: damaged, leader: '' }))
    members.net.listen('b', PROTOCOL_RAFT, (stream) => {
      stream.onFrame = () => stream.send(Uint8Array.of(0, 0, 0, 1, 0xff))
    })
    members.answer('c', () => invited(FOUNDING))
    const seeds = ['a', 'b', 'c'].map((peerId) => ({ peerId, addresses: [] }))
    const outcome = members.ask(undefined, { seeds })
    await members.clock.advance(10_000)
    expect(outcome.cluster?.config).toEqual(FOUNDING)
    expect(members.logged).toHaveLength(2)
    expect(members.logged[0]).toMatchObject({ reason: expect.stringContaining('a damaged configuration') })
  })

  it.each([
    ['another cluster', 'founding', new NotAuthorizedError(NEWCOMER, 'it belongs to cluster green')],
    ['another version', 'version', new VersionMismatchError('protocol', 1, 2)]
  ] as const)('a peer of %s gives up at once', async (_what, reason, error) => {
    const members = new Members()
    members.answer('a', () => refused(error, reason))
    const outcome = members.ask()
    await settle()
    expect(outcome.error).toMatchObject({ name: error.name, message: error.message })
  })

  it('a signal ends the wait for an invitation, and leaves no timer behind', async () => {
    const members = new Members()
    members.answer('a', () => UNINVITED)
    const controller = new AbortController()
    const outcome = members.ask(undefined, { signal: controller.signal })
    await members.clock.advance(500)
    controller.abort(new Error('stopped'))
    await settle()
    expect(outcome.error).toMatchObject({ message: 'stopped' })
    const { length } = members.asked
    await members.clock.advance(60_000)
    expect(members.asked).toHaveLength(length)
  })
})

describe('the answer of a member to a peer that asks to join', () => {
  const request: JoinMessage = {
    type: 'raftJoin',
    version: PROTOCOL_VERSION,
    features: FEATURES,
    clusterId: '',
    from: NEWCOMER,
    incarnation: '',
    rejoins: ''
  }
  const answerTo = (config: ReplicatedConfig, change: Partial<JoinMessage> = {}): string | undefined => {
    const refusal = joinRefusal(config, change.from ?? NEWCOMER, { ...request, ...change })
    return refusal && `${refusal.reason}: ${refusal.error.message}`
  }
  const INVITING = { ...FOUNDING, invited: [{ peerId: NEWCOMER, addresses: [], replaces: '' }] }

  it('a peer may join if it is invited, is a member with this directory, or asks for its own place', () => {
    expect(answerTo(INVITING)).toBeUndefined()
    expect(answerTo(JOINED, { incarnation: 'f0' })).toBeUndefined()
    expect(answerTo(JOINED, { incarnation: 'f1', rejoins: 'x/f0' })).toBeUndefined()
    expect(answerTo(FOUNDING, { from: 'a', rejoins: 'a' })).toBeUndefined()
  })

  it('any other peer is refused with the reason and the remedy', () => {
    expect(answerTo(FOUNDING)).toContain('membership: x is refused: no admin has invited it (quire members add)')
    expect(answerTo(FOUNDING, { rejoins: 'x' })).toContain('no admin has invited it')
    expect(answerTo(JOINED, { incarnation: 'f1' })).toContain('or with --rejoin f0 if that one is lost')
    expect(answerTo(FOUNDING, { from: 'a' })).toContain('or with --rejoin founder if that one is lost')
    // A start with an option that was meant for an earlier directory, for example on a disk that is not mounted.
    expect(answerTo(JOINED, { rejoins: 'x' })).toContain('or with --rejoin f0 if that one is lost')
    expect(answerTo(INVITING, { clusterId: 'green' })).toBe('founding: x is refused: it belongs to cluster green')
    expect(answerTo(INVITING, { version: 99 })).toContain('version: ')
    const lie = joinRefusal(INVITING, 'y', { ...request, from: NEWCOMER })
    expect(lie?.error.message).toBe('y is refused: it claims to be x')
  })
})
