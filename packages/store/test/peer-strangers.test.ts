/** A node that is not a member of the cluster can only learn from a peer's Raft streams that it is refused. */
import {
  PROTOCOL_RAFT,
  UnavailableError,
  decodeFrame,
  encode,
  encodeFrame,
  raftMessage,
  type RaftStreamMessage
} from '@quire/protocol'
import { FakeNet, settle, type FakeStream } from '@quire/testing'
import { describe, expect, it } from 'vitest'
import { PeerRefusals } from '../src/peer/peer-refusals.js'
import { clusterConfig } from '../src/state/commands.js'
import { founded, type LinkedPeer, type LogLine } from './support/linked-peer.js'
import { clock, start, usePeers } from './support/linked-peers.js'

const VOTERS = ['a', 'b']

usePeers()

interface Knock {
  readonly stream: FakeStream
  readonly answers: RaftStreamMessage[]
}

async function knock(net: FakeNet, from: string, to: LinkedPeer, founding: string): Promise<Knock> {
  const stream = await net.dial(from, to.id, { protocol: PROTOCOL_RAFT })
  const answers: RaftStreamMessage[] = []
  stream.onFrame = (frame) => answers.push(decodeFrame(raftMessage, frame).message)
  stream.send(encodeFrame(raftMessage, { type: 'raftHello', ...to.identity.introduce([], 0), from, founding }))
  await settle()
  return { stream, answers }
}

/** An answer to a refusal for another founding configuration. */
async function answerBack(stream: FakeStream, message: Partial<RaftStreamMessage> = {}): Promise<void> {
  const error = { code: 'ERR_UNAVAILABLE', facts: ['x'.repeat(2000)] }
  const refusal = { type: 'raftRefused', error, reason: 'evidence', founding: encode(clusterConfig, founded(VOTERS)) }
  stream.send(encodeFrame(raftMessage, { ...refusal, ...message } as RaftStreamMessage))
  await settle()
}

function warnings({ logged }: LinkedPeer, msg = 'peer refused'): LogLine[] {
  return logged.filter((line) => line.level >= 40 && line.msg === msg)
}

describe('strangers on a Raft stream', () => {
  it('a stranger flags no member, whatever it answers to its refusal', async () => {
    const net = new FakeNet()
    const b = await start(net, 'b', VOTERS)
    for (let i = 0; i < 100; i++) {
      const { stream } = await knock(net, `stranger ${i}`, b, 'ff')
      await answerBack(stream)
      expect(stream.over).toBeDefined()
    }
    const { stream } = await knock(net, 'a', b, 'ff')
    await answerBack(stream)
    expect(b.links.quarantined).toEqual([])
  })

  it('a stranger that refuses a peer flags no member', async () => {
    const b = await start(new FakeNet(), 'b', VOTERS)
    const of = (isMember: boolean): number => {
      const refusals = new PeerRefusals({ identity: b.identity, clock, isMember: () => isMember, logger: undefined })
      const error = { code: 'ERR_UNAVAILABLE', facts: ['go away'] }
      refusals.refusedBy('x', { type: 'raftRefused', error, reason: 'evidence', founding: undefined })
      refusals.refuse('x', { error: new UnavailableError('go away'), reason: 'evidence', founding: undefined })
      return refusals.quarantined.length
    }
    expect([of(false), of(true)]).toEqual([0, 1])
  })

  it('a stranger learns nothing about this cluster, not even its founding digest', async () => {
    const net = new FakeNet()
    const b = await start(net, 'b', VOTERS)
    const { answers } = await knock(net, 'stranger', b, 'ff')
    expect(answers).toMatchObject([{ type: 'raftRefused', reason: 'founding', founding: undefined }])
    expect(JSON.stringify(answers)).not.toContain(b.identity.digest)
    // A voter with another configuration must be able to log the difference.
    const voter = await knock(net, 'a', b, 'ff')
    expect(voter.answers).toMatchObject([{ founding: encode(clusterConfig, founded(VOTERS)) }])
  })

  it('a stranger causes one warning for each kind of refusal, whatever it says each time', async () => {
    const net = new FakeNet()
    const b = await start(net, 'b', VOTERS)
    for (let i = 0; i < 200; i++) {
      const { stream } = await knock(net, 'stranger', b, `f${i}`)
      const config = founded(['stranger', 'b'], { clusterId: `c${i}` })
      await answerBack(stream, { founding: encode(clusterConfig, config) })
    }
    expect(warnings(b).map(({ reason }) => reason)).toEqual([
      'stranger is refused: it was founded from another configuration: digest f0',
      'stranger is refused: it was founded from another configuration: cluster id: blue here, c0 there'
    ])
    expect(b.errors()).toEqual([])
  })

  it('a stranger causes no log line about a configuration that does not list both peers', async () => {
    const net = new FakeNet()
    const b = await start(net, 'b', VOTERS)
    const { stream } = await knock(net, 'stranger', b, 'ff')
    await answerBack(stream, { founding: encode(clusterConfig, founded(['stranger', 'another'])) })
    expect(warnings(b)).toHaveLength(1)
  })

  it('a stranger causes a bounded number of log lines under many keys, and a count of the others', async () => {
    const net = new FakeNet()
    const b = await start(net, 'b', VOTERS)
    for (let i = 0; i < 3000; i++) (await knock(net, `stranger ${i}`, b, 'ff')).stream.close()
    expect(warnings(b)).toHaveLength(32)
    await clock.advance(60_000)
    await knock(net, 'one more', b, 'ff')
    expect(warnings(b)).toHaveLength(33)
    expect(warnings(b, 'more peers were refused')).toMatchObject([{ refusals: 2968 }])
    // There are few members. Their lines do not count for the limit, and strangers do not displace them.
    await knock(net, 'a', b, 'ff')
    await knock(net, 'a', b, 'fe')
    await knock(net, 'a', b, 'fe')
    const line = (digest: string) => expect.stringContaining(`another configuration: digest ${digest}, not `) as string
    expect(b.errors()).toEqual([line('ff'), line('fe')])
  })

  it('strangers can hold a bounded number of silent streams, which keep no member out', async () => {
    const net = new FakeNet()
    const b = await start(net, 'b', VOTERS)
    const silent: FakeStream[] = []
    for (let i = 0; i < 40; i++) silent.push(await net.dial(`stranger ${i}`, 'b', { protocol: PROTOCOL_RAFT }))
    for (let i = 0; i < 40; i++) silent.push(await net.dial('a', 'b', { protocol: PROTOCOL_RAFT }))
    await settle()
    const held = (from: number, to: number): number => silent.slice(from, to).filter(({ over }) => !over).length
    expect([held(0, 40), held(40, 80)]).toEqual([16, 4])
    for (const stream of silent.slice(40)) stream.close()
    const a = await start(net, 'a', VOTERS)
    await clock.advance(200)
    a.send('b')
    await settle()
    expect(b.received).toEqual(['0 a heartbeat'])
  })
})
