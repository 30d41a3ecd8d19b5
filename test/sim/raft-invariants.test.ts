import { encode, raftConfiguration } from '@quire/protocol'
import type { Entry } from '@quire/raft'
import { describe, expect, it } from 'vitest'
import type { SimPeer } from './src/cluster/peers.js'
import { PeerRaftInvariants } from './src/cluster/raft-invariants.js'
import { Coverage } from './src/coverage.js'

const TERM = 2
const VOTERS = ['peer1', 'peer2', 'peer3']
const NOBODY = { learners: [], outgoing: [], learnersNext: [], context: new Uint8Array(0) }

/** A peer of term 2 with entries `base` + 1 to `durable` on its disk. Entry 1 is the configuration. */
function peer(
  name: string,
  role: 'leader' | 'follower',
  { durable = 1, commit = 1, applied = 1, base = 0, last = 2 }
): SimPeer {
  const entries = Array.from({ length: durable }, (_, i): Entry => ({
    index: i + 1,
    term: TERM,
    kind: i === 0 ? 'config' : 'normal',
    data: i === 0 ? encode(raftConfiguration, { voters: VOTERS, ...NOBODY }) : Uint8Array.of(i)
  }))
  const log = {
    firstIndex: base + 1,
    lastIndex: durable,
    configurations: entries.slice(0, 1),
    term: (index: number) => (index < base ? undefined : entries[index - 1]?.term),
    entries: (from: number, end: number) => entries.slice(from - 1, end - 1)
  }
  const members = { voters: VOTERS, outgoing: [] }
  const status = { role, term: TERM, commitIndex: commit, appliedIndex: applied, lastIndex: last, ...members }
  const core = { root: { replica: { log }, node: { status: () => status } } }
  return { name, member: name, life: 1, isOnOldFolder: false, core } as unknown as SimPeer
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
    expect(() => invariants.check()).toThrow(
      /^committed is durable: entry 2 of term 2 is on the disks of 1 of 3 voters$/
    )
  })

  describe('of logs that start later', () => {
    /** Peers with entries 1 to 4, of which 3 are committed. */
    const watch = () => {
      const held = { durable: 4, commit: 3, applied: 3, last: 4 }
      const third = peer('peer3', 'follower', held)
      const peers = [peer('peer1', 'leader', held), peer('peer2', 'follower', held), third]
      const invariants = new PeerRaftInvariants(peers, new Coverage())
      invariants.check()
      return {
        invariants,
        become: (as: Parameters<typeof peer>[2]) => Object.assign(third, peer('peer3', 'follower', as))
      }
    }

    it('a log may drop entries that are committed, and keeps the others', () => {
      const { invariants, become } = watch()
      become({ durable: 4, commit: 3, applied: 3, last: 4, base: 3 })
      invariants.check()
    })

    it('a crash may bring back the first entries of a log, which nothing else does (seed 1128640396)', () => {
      const { invariants, become } = watch()
      const held = { durable: 4, commit: 3, applied: 3, last: 4 }
      become({ ...held, base: 3 })
      invariants.check()
      Object.assign(become(held), { life: 2 })
      invariants.check()
      Object.assign(become({ ...held, base: 3 }), { life: 2 })
      invariants.check()
      Object.assign(become(held), { life: 2 })
      expect(() => invariants.check()).toThrow(/^a log starts after what is committed: peer3 has its first entry again/)
    })

    it('the simulation fails when a log starts after an entry that is not committed', () => {
      const { invariants, become } = watch()
      become({ durable: 4, commit: 3, applied: 3, last: 4, base: 4 })
      expect(() => invariants.check()).toThrow(/^a log starts after what is committed: peer3 starts after entry 4 /)
    })

    it('the simulation fails when a log that drops its first entries loses the last one too', () => {
      const { invariants, become } = watch()
      become({ durable: 3, commit: 3, applied: 3, last: 3, base: 2 })
      expect(() => invariants.check()).toThrow(
        /^durability: peer3 had flushed entry 4 of term 2; now the log ends at 3/
      )
    })

    it('the simulation fails when a log starts without the configuration in force', () => {
      const { invariants, become } = watch()
      const log = become({ durable: 4, commit: 3, applied: 3, last: 4, base: 2 }).core!.root.replica.log
      Object.assign(log, { configurations: [] })
      expect(() => invariants.check()).toThrow(/^a log starts with the configuration in force: peer3 starts after 2 /)
    })
  })
})
