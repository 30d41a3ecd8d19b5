import {
  FEATURES,
  MAX_CONTROL_FRAME_BYTES,
  PROTOCOL_CONTROL,
  PROTOCOL_VERSION,
  clientMessage,
  decodeFrame,
  encodeFrame,
  leaderMessage,
  type LeaderMessage
} from '@quire/protocol'
import { createMemoryDisk } from '@quire/raft'
import { FakeClock, FakeNet } from '@quire/testing'
import { expect, it } from 'vitest'
import { createMemoryStorage } from '../src/pages/index.js'
import { normalizeCluster } from '../src/peer/cluster.js'
import { foundingDigest } from '../src/peer/founding.js'
import { createMemoryIdentity } from '../src/peer/memory-identity.js'
import { openPeerCore } from '../src/peer/peer-core.js'
import { memoryReplica } from './support/memory-replica.js'

const FOUNDER = '12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp'
const JOINER = '12D3KooWPqXJjKSeVZXBRa88bMGLeazFShQbXN6Wn4jbWhzZQTH4'
const CLIENT = '12D3KooWPT98FXMfDQYavZm66EeVjTqP9Nnehn1gyaydqV8L8BQw'

const FOUNDING = normalizeCluster({
  clusterId: 'blue',
  voters: [{ peerId: FOUNDER, addresses: ['/ip4/192.0.2.1/tcp/1'] }],
  admins: [],
  clients: 'any'
})
/** The configuration with which the peer has joined. */
const JOINED = {
  ...FOUNDING,
  members: [
    ...FOUNDING.members,
    { peerId: JOINER, incarnation: 'new', addresses: [`/ip4/192.0.2.2/tcp/1/p2p/${JOINER}`] }
  ],
  roundTripMs: 600,
  revision: 3
}

it('a peer that has joined and has applied nothing yet tells clients its cluster and round trip', async () => {
  const clock = new FakeClock()
  const net = new FakeNet()
  const identity = createMemoryIdentity({ incarnation: 'new', joined: true })
  const storage = memoryReplica({
    identity,
    founding: FOUNDING,
    joinedCluster: { founding: FOUNDING, config: JOINED },
    openLogDisk: () => createMemoryDisk(),
    pages: createMemoryStorage({ schedule: queueMicrotask })
  })
  const random = { next: () => 0.5 }
  const fail = (error: Error): never => {
    throw error
  }
  const core = await openPeerCore({ storage, clock, random }, { id: JOINER, onFatal: fail })
  core.connect(net.node(JOINER), ['/ip4/192.0.2.2/tcp/1'])

  const stream = await net.node(CLIENT).dial(JOINER, [], {
    protocol: PROTOCOL_CONTROL,
    maxFrameBytes: MAX_CONTROL_FRAME_BYTES
  })
  const answered = new Promise<LeaderMessage>((resolve) => {
    stream.onFrame = (frame) => resolve(decodeFrame(leaderMessage, frame).message)
  })
  const lane = { lane: 'control', fence: 0, attach: 0 } as const
  const cluster = { clusterId: 'blue', founding: foundingDigest(FOUNDING) }
  stream.send(
    encodeFrame(clientMessage, { type: 'hello', version: PROTOCOL_VERSION, features: FEATURES, ...cluster, ...lane })
  )
  expect(await answered).toMatchObject({ type: 'redirect', ...cluster, roundTripMs: 600 })
  const stopping = core.stop()
  await clock.advance(1000)
  await stopping
  await core.close()
})
