/** Peers that link on fake networks in one virtual time. The hooks stop the peers that still run after a test. */
import { FakeClock, settle, type FakeNet } from '@quire/testing'
import { afterEach, expect } from 'vitest'
import { createMemoryIdentity } from '../../src/peer/memory-identity.js'
import type { ReplicatedConfig } from '../../src/state/index.js'
import { LinkedPeer, founded, type LinkedPeerInit } from './linked-peer.js'

export const clock = new FakeClock()
const running = new Set<LinkedPeer>()

/** Registers a hook that stops all peers after each test. */
export function usePeers(): void {
  afterEach(() => {
    stopAll()
    expect(clock.pending).toBe(0)
  })
}

/** Starts a process of a peer `id` of a cluster that `ids` founded. */
export function start(
  net: FakeNet,
  id: string,
  ids: string[],
  init: Partial<LinkedPeerInit> = {}
): Promise<LinkedPeer> {
  return started(new LinkedPeer(id, { net, clock, config: founded(ids), ...init }))
}

/** The configuration of a cluster that `ids` founded and whose members, as `PeerId/incarnation`, are these by now. */
export function memberConfig(ids: readonly string[], ...members: readonly string[]): ReplicatedConfig {
  const all = members.map((member) => {
    const [peerId = '', incarnation = ''] = member.split('/')
    return { peerId, incarnation, addresses: [`/ip4/127.0.0.1/tcp/1/p2p/${peerId}`] }
  })
  return { ...founded(ids), members: all }
}

/** Starts a process of b on a directory with which it has joined. */
export async function startJoined(
  net: FakeNet,
  incarnation: string,
  ids: string[],
  config: ReplicatedConfig
): Promise<LinkedPeer> {
  const folder = createMemoryIdentity({ incarnation, joined: true })
  const peer = await start(net, 'b', ids, { folder })
  peer.links.configure(config)
  return peer
}

/** Starts a new process of the peer. */
export async function started(peer: LinkedPeer): Promise<LinkedPeer> {
  await peer.start()
  running.add(peer)
  return peer
}

export function stop(peer: LinkedPeer): void {
  peer.links.close()
  running.delete(peer)
}

export function stopAll(): void {
  for (const peer of running) stop(peer)
}

/** Starts the two peers of a cluster and lets them link. */
export async function pair(net: FakeNet): Promise<[LinkedPeer, LinkedPeer]> {
  const a = await start(net, 'a', ['a', 'b'])
  const b = await start(net, 'b', ['a', 'b'])
  await clock.advance(200)
  return [a, b]
}

/** Sends a heartbeat each way. */
export async function exchange(one: LinkedPeer, other: LinkedPeer): Promise<void> {
  one.send(other.id)
  other.send(one.id)
  await settle()
}
