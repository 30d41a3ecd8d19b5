/** Peers that link on fake networks in one virtual time. The hooks stop the peers that still run after a test. */
import { FakeClock, settle, type FakeNet } from '@quire/testing'
import { afterEach, expect } from 'vitest'
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
