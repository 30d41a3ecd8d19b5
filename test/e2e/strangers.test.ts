/** What a node that no cluster file lists can do to a running peer, and to the terminal of its operator. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createLibp2pNetwork, generatePrivateKey, type Libp2pNetwork } from '@quire/net'
import {
  FEATURES,
  PROTOCOL_RAFT,
  PROTOCOL_VERSION,
  decodeFrame,
  encodeFrame,
  raftMessage,
  type FrameStream,
  type RaftIntroduction
} from '@quire/protocol'
import { afterEach, describe, expect, it } from 'vitest'
import { quire, type RunOptions } from '../../packages/cli/test/support/quire.js'
import { startCluster, until, type PeerProcess, type TestCluster } from './support/cluster.js'

const networks: Libp2pNetwork[] = []

afterEach(async () => {
  await Promise.all(networks.splice(0).map((network) => network.close()))
})

/** Says hello as a node with a key of its own and with `founding`, and answers its refusal with `reason`. */
async function intrude(peer: PeerProcess, clusterId: string, founding: string, reason: string): Promise<FrameStream> {
  const network = await createLibp2pNetwork({ privateKey: await generatePrivateKey(), listen: [] })
  networks.push(network)
  const stream = await network.dial(peer.peerId, [peer.multiaddr], { protocol: PROTOCOL_RAFT, maxFrameBytes: 1 << 20 })
  const answer = new Promise<string>((resolve) => {
    stream.onFrame = (frame) => resolve(decodeFrame(raftMessage, frame).message.type)
  })
  const hello: RaftIntroduction = {
    version: PROTOCOL_VERSION,
    features: FEATURES,
    clusterId,
    founding,
    from: network.peerId,
    addresses: [],
    incarnation: 'a',
    boot: 1,
    process: 'p',
    joined: false,
    revision: 0,
    admitted: false,
    term: 0,
    lastTerm: 0,
    lastIndex: 0
  }
  stream.send(encodeFrame(raftMessage, { type: 'raftHello', ...hello }))
  expect(await answer).toBe('raftRefused')
  const ended = new Promise<void>((resolve) => (stream.onClose = () => resolve()))
  const error = { code: 'ERR_UNAVAILABLE', facts: [reason] }
  stream.send(encodeFrame(raftMessage, { type: 'raftRefused', error, reason: 'evidence', founding: new Uint8Array(3) }))
  await ended
  return stream
}

describe('a stranger', () => {
  it('a stranger cannot hide a status or write to a terminal through a log if any client may connect', async () => {
    await using test = await startCluster(['--clients', 'any'])
    await intrudeTwice(test, {})
  })

  it('a stranger cannot hide a status or write to a terminal through a log if only listed clients may connect', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'quire-stranger-'))
    const key = join(folder, 'operator.key')
    try {
      const operator = (await quire(['keygen', key])).stdout.trim()
      await using test = await startCluster(['--clients', operator])
      await intrudeTwice(test, { env: { QUIRE_KEY: key } })
    } finally {
      await rm(folder, { recursive: true })
    }
  })
})

async function intrudeTwice(test: TestCluster, operator: RunOptions): Promise<void> {
  const [peer] = test.peers as [PeerProcess]
  await test.kill(peer)
  const running = await test.restartAt(peer, peer.multiaddr.replace(/\/p2p\/.*$/, ''))
  const before = await quire(['status', '--json', '--peers', peer.multiaddr], operator)
  const { clusterId } = JSON.parse(before.stdout.split('\n')[0]!) as { clusterId: string }
  await intrude(peer, clusterId, '\u009b2J\u202efounding', 'x'.repeat(2000))
  await intrude(peer, '\u009b2J', 'ff', '\u001b[2J\u001b[1;1Hall is well')
  await until(() => running.stderr.includes('\\u009b2J'), 'the peer to log the refusals')
  expect(running.stderr).not.toMatch(/[\u0080-\u009f\u202e]/)
  let answers: string[] = []
  await until(async () => {
    const after = await quire(['status', '--json', '--peers', test.addresses.join(',')], operator)
    answers = after.stdout.trim().split('\n')
    return after.status === 0
  }, 'a leader that the majority follows')
  expect(answers).toHaveLength(test.peers.length)
  for (const line of answers) expect(JSON.parse(line)).toMatchObject({ quarantined: [], role: expect.any(String) })
}
