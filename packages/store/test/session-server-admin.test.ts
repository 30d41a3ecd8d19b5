/** How a peer answers the messages of an admin, each the only one of its stream. */
import {
  ChangeRefusedError,
  MAX_CONTROL_FRAME_BYTES,
  MAX_MEMBERS,
  MAX_PEER_ID_BYTES,
  MAX_RULES,
  PROTOCOL_BULK,
  PROTOCOL_CONTROL,
  PROTOCOL_VERSION,
  clientMessage,
  encodeFrame,
  type AdminChange,
  type ClientMessage
} from '@quire/protocol'
import { NotLeaderError } from '@quire/raft'
import { settle } from '@quire/testing'
import { describe, expect, it } from 'vitest'
import { group, useGroup } from './support/served-group.js'
import { CONFIG, FOUNDING, OTHER, PEER, TestLane } from './support/stub-group.js'

useGroup()

const version = PROTOCOL_VERSION
const CHANGE: AdminChange = { type: 'denyClient', id: 'client' }

/** Sends one message on a new stream. */
async function ask(message: ClientMessage, protocol = PROTOCOL_CONTROL): Promise<TestLane> {
  const lane = new TestLane(await group.net.dial('admin', PEER, { protocol }))
  await lane.send(message)
  return lane
}

describe('the messages of an admin', () => {
  it('a remote that may connect for another purpose, as a member may, is refused as a client', async () => {
    group.answers.mayServe = (remote) => `${remote} is not among the clients`
    for (const message of [
      { type: 'access', version, after: '' },
      { type: 'roster', version }
    ] as const) {
      const lane = await ask(message)
      expect(lane.received).toMatchObject([{ type: 'refused', error: { code: 'ERR_NOT_AUTHORIZED' } }])
      expect(lane.closed).toBe(true)
    }
  })

  it('a peer hands a change to the leader with the identity that the transport has proved, and answers when it is made', async () => {
    const asked: unknown[] = []
    let done = (_index: number): void => {}
    group.answers.administer = (...args) => {
      asked.push(args)
      return new Promise((resolve) => (done = resolve))
    }
    const lane = await ask({ type: 'administer', version, founding: FOUNDING, change: CHANGE })
    expect(asked).toEqual([['admin', FOUNDING, CHANGE]])
    expect([lane.received, lane.closed]).toEqual([[], false])
    done(17)
    await settle()
    expect([lane.received, lane.closed]).toEqual([[{ type: 'administered', index: 17 }], true])
  })

  it('a peer that does not lead redirects a change and the question for the members, but tells the access rules', async () => {
    group.follow(3, OTHER)
    group.answers.administer = () => Promise.reject(new NotLeaderError(PEER, OTHER))
    const change = await ask({ type: 'administer', version, founding: '', change: CHANGE })
    const roster = await ask({ type: 'roster', version })
    for (const lane of [change, roster]) {
      expect(lane.received).toEqual([expect.objectContaining({ type: 'redirect', leader: OTHER, term: 3 })])
      expect(lane.closed).toBe(true)
    }
    expect((await ask({ type: 'access', version, after: '' })).last('access')).toMatchObject({ done: true })
  })

  it('a peer tells the reason for which a change is refused', async () => {
    group.answers.administer = () => Promise.reject(new ChangeRefusedError('the removal of b', 'it is the last voter'))
    const lane = await ask({ type: 'administer', version, founding: '', change: CHANGE })
    expect(lane.last('refused')?.error).toEqual({
      code: 'ERR_CHANGE_REFUSED',
      facts: ['the removal of b', 'it is the last voter']
    })
    expect(lane.closed).toBe(true)
  })

  it('a peer takes no second message while a change is made, and needs no stream to be left for the answer', async () => {
    let done = (_index: number): void => {}
    group.answers.administer = () => new Promise((resolve) => (done = resolve))
    const lane = await ask({ type: 'administer', version, founding: '', change: CHANGE })
    await lane.send({ type: 'status', version, seq: 1 })
    expect(lane.received).toEqual([])
    lane.stream.close()
    await settle()
    done(1)
    await settle()
    expect(lane.received).toEqual([])
  })

  it('a peer refuses the messages of an admin of another protocol version', async () => {
    const messages: ClientMessage[] = [
      { type: 'administer', version: 99, founding: '', change: CHANGE },
      { type: 'access', version: 99, after: '' },
      { type: 'roster', version: 99 }
    ]
    group.answers.administer = () => Promise.reject(new Error('a change of another version was made'))
    for (const message of messages) {
      const lane = await ask(message)
      expect(lane.received, message.type).toEqual([
        { type: 'refused', error: { code: 'ERR_VERSION', facts: ['protocol', 99, PROTOCOL_VERSION] } }
      ])
      expect(lane.closed).toBe(true)
    }
  })

  it('a peer refuses the messages of an admin on a bulk stream, and for a group that it does not have', async () => {
    const messages: ClientMessage[] = [
      { type: 'administer', version, founding: '', change: CHANGE },
      { type: 'access', version, after: '' },
      { type: 'roster', version }
    ]
    for (const message of messages) {
      const bulk = await ask(message, PROTOCOL_BULK)
      expect(bulk.last('refused')?.error).toMatchObject({
        code: 'ERR_INVALID_ARGUMENT',
        facts: ['message', message.type, expect.anything()]
      })
      const other = new TestLane(await group.net.dial('admin', PEER, { protocol: PROTOCOL_CONTROL }))
      other.stream.send(encodeFrame(clientMessage, message, 7))
      await settle()
      expect(other.last('refused')?.error).toMatchObject({
        code: 'ERR_INVALID_ARGUMENT',
        facts: ['group', 7, expect.anything()]
      })
    }
  })
})

describe('the access rules', () => {
  const clients = Array.from({ length: 2 * MAX_RULES + 1 }, (_, i) => `client-${String(i).padStart(4, '0')}`)

  it('a peer tells more rules than one message holds page by page, each after the last id of the page before', async () => {
    group.answers.access = () => ({ ...CONFIG, clients })
    const pages = []
    let after = ''
    for (let done = false; !done;) {
      const page = (await ask({ type: 'access', version, after })).last('access')!
      pages.push(page)
      after = page.rules.at(-1)!.id
      ;({ done } = page)
    }
    expect(pages.map(({ any, rules, done }) => [any, rules.length, done])).toEqual([
      [false, MAX_RULES, false],
      [false, MAX_RULES, false],
      [false, 1, true]
    ])
    expect(pages.flatMap(({ rules }) => rules)).toEqual(clients.map((id) => ({ id, rule: 'allowed' })))
  })

  it('a peer tells exactly as many rules as one message holds in one page', async () => {
    group.answers.access = () => ({ ...CONFIG, clients: clients.slice(0, MAX_RULES) })
    const lane = await ask({ type: 'access', version, after: '' })
    expect(lane.last('access')).toMatchObject({ done: true })
    expect(lane.last('access')!.rules).toHaveLength(MAX_RULES)
  })

  it('a peer tells that any client may connect', async () => {
    expect((await ask({ type: 'access', version, after: '' })).last('access')).toEqual({
      type: 'access',
      any: true,
      rules: [],
      done: true
    })
  })

  it('a page of rules with the longest ids fits a control frame', async () => {
    const longest = clients.slice(0, MAX_RULES).map((id) => id.padEnd(MAX_PEER_ID_BYTES, 'x'))
    group.answers.access = () => ({ ...CONFIG, clients: longest })
    const lane = await ask({ type: 'access', version, after: '' })
    expect(lane.last('access')!.rules).toHaveLength(MAX_RULES)
    expect(lane.bytes).toBeLessThanOrEqual(MAX_CONTROL_FRAME_BYTES)
  })
})

describe('the roster', () => {
  it('a leader tells the members with their progress, and the largest roster fits a control frame', async () => {
    const id = 'x'.repeat(MAX_PEER_ID_BYTES)
    const figures = { matchIndex: Number.MAX_SAFE_INTEGER, answers: true, hasCaughtUp: true }
    const members = Array.from({ length: 2 * MAX_MEMBERS }, () => ({ id, role: 'outgoing' as const, ...figures }))
    const invited = Array.from({ length: MAX_MEMBERS }, () => ({ peerId: id, replaces: id }))
    const roster = { lastIndex: Number.MAX_SAFE_INTEGER, members, invited }
    group.answers.roster = () => roster
    const lane = await ask({ type: 'roster', version })
    expect(lane.received).toEqual([{ type: 'roster', ...roster }])
    expect(lane.closed).toBe(true)
    expect(lane.bytes).toBeLessThanOrEqual(MAX_CONTROL_FRAME_BYTES)
  })
})
