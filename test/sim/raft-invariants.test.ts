import type { Entry } from '@quire/raft'
import { describe, expect, it } from 'vitest'
import type { SimPeer } from './src/cluster/peers.js'
import { PeerRaftInvariants } from './src/cluster/raft-invariants.js'
import { Coverage } from './src/coverage.js'

const TERM = 2

/** A peer of term 2 with entries 1 to `durable` on its disk. */
function peer(name: string, role: 'leader' | 'follower', { durable = 1, commit = 1, applied = 1 }): SimPeer {
  const entries = Array.from({ length: durable }, (_, i): Entry => ({
    index: i + 1,
    term: TERM,
    kind: 'normal',
    data: Uint8Array.of(i)
  }))
  const log = {
    lastIndex: durable,
    firstIndex: 1,
    configurations: [],
    term: (index: number) => entries[index - 1]?.term,
    entries: (from: number, end: number) => entries.slice(from - 1, end - 1)
  }
  const status = { role, term: TERM, commitIndex: commit, appliedIndex: applied, lastIndex: 2 }
  const core = { root: { replica: { log }, node: { status: () => status } } }
  return { name, life: 1, isOnOldFolder: false, core } as unknown as SimPeer
}

describe('invariants of Raft in the cluster simulation', () => {
  it('an entry counts as committed when two followers have it and the leader has not written it yet (seed 43)', () => {
    const peers = [
      peer('peer1', 'leader', { durable: 1, commit: 2 }),
      peer('peer2', 'follower', { durable: 2, commit: 2 }),
      peer('peer3', 'follower', { durable: 2 })
    ]
    const invariants = new PeerRaftInvariants(peers, new Coverage())
    invariants.check()
    expect(invariants.termOfCommitted(2)).toBe(TERM)
  })

  it('the simulation fails when a leader commits an entry that only a minority has', () => {
    const peers = [
      peer('peer1', 'leader', { durable: 2, commit: 2 }),
      peer('peer2', 'follower', { durable: 1 }),
      peer('peer3', 'follower', { durable: 1 })
    ]
    const invariants = new PeerRaftInvariants(peers, new Coverage())
    expect(() => invariants.check()).toThrow(/^committed is durable: entry 2 of term 2 is on 1 disks$/)
  })
})
