import { createDsmClient } from '@quire/dsm-client'
import { DEFAULT_ROUND_TRIP_MS, timingOf } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { until } from './support/cluster.js'
import { startFarPeers } from './support/far-peers.js'

const FAR_MS = 600
const { electionMs } = timingOf(FAR_MS)
/**
 * Links come up, and an election follows: the longest timeout, and once more after a split vote, with two round trips
 * of votes each.
 */
const ELECTION_BOUND_MS = 4 * FAR_MS + 2 * (2 * electionMs + 2 * FAR_MS)

describe('peers that are 600 ms apart', () => {
  it('peers that are 600 ms apart elect a leader within the bound of their timing, keep it, and commit', async () => {
    await using far = await startFarPeers({ roundTripMs: FAR_MS, configuredMs: FAR_MS })
    await until(() => far.leader() !== undefined, 'a leader', ELECTION_BOUND_MS)
    const { term } = far.leader()!.status()
    const client = await createDsmClient({ peers: far.addresses })
    try {
      const file = await client.open('/apart', { create: true, size: 4096 })
      const mapping = await file.mmap()
      await mapping.write(0, new Uint8Array([7]))
      const startedAt = performance.now()
      await mapping.msync()
      // To the leader and back, and from the leader to another peer and back.
      expect(performance.now() - startedAt).toBeGreaterThan(2 * FAR_MS)
      expect(far.leader()!.status().term).toBe(term)
    } finally {
      await client.close()
    }
  })

  it("peers keep their leader if the cluster's round trip was raised before they moved 600 ms apart", async () => {
    await using far = await startFarPeers({ roundTripMs: 0 })
    await until(() => far.leader() !== undefined, 'a leader')
    const leader = far.leader()!
    const { term, commitIndex } = leader.status()
    await until(() => {
      try {
        leader.proposeRoundTrip(FAR_MS)
        return true
      } catch (error) {
        expect(error).toMatchObject({ name: 'ChangePendingError' })
        return false
      }
    }, 'the change to be taken')
    await until(() => far.peers.every((peer) => peer.status().roundTripMs === FAR_MS), 'all to follow')
    // All peers tick slowly one heartbeat later.
    const settled = performance.now() + 6 * timingOf(DEFAULT_ROUND_TRIP_MS).tickMs
    await until(() => performance.now() > settled, 'a heartbeat')
    far.distance.roundTripMs = FAR_MS
    const watchedUntil = performance.now() + 2 * electionMs
    await until(() => performance.now() > watchedUntil, 'two election timeouts')
    expect(far.leader()!.status()).toMatchObject({ id: leader.status().id, term })
    expect(far.leader()!.status().commitIndex).toBeGreaterThan(commitIndex)
  })
})
