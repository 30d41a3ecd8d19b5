import { beforeEach, describe, expect, it } from 'vitest'
import { Coverage } from './src/coverage.js'
import { RaftInvariants } from './src/raft/invariants.js'
import type { LeaderTenure } from './src/raft/leader-tenure.js'
import { WatchedLog } from './src/raft/log-watch.js'
import type { ObservedNode } from './src/raft/observed-node.js'
import { VoteInvariants } from './src/raft/vote-invariants.js'

interface Facts {
  /** Terms of the entries on its disk, from entry 1 on. */
  readonly disk: readonly number[]
  readonly term: number
  readonly role?: 'leader' | 'follower'
  /** The last entry of its log, if that is not the last one on its disk. */
  readonly lastIndex?: number
  readonly vote?: string
}

let nodes: Map<string, ObservedNode>
let votes: VoteInvariants

beforeEach(() => {
  nodes = new Map()
  votes = new VoteInvariants(nodes)
})

function node(name: string, { disk, term, role = 'follower', lastIndex = disk.length, vote }: Facts): ObservedNode {
  const watched = new WatchedLog()
  for (const each of disk) watched.entries.push({ term: each, crc: each })
  watched.hardState = { term, vote, commit: 0 }
  const members = { voters: ['n1', 'n2', 'n3'], learners: [], outgoing: [] }
  const status = { id: name, term, role, lastIndex, commitIndex: 0, ...members }
  const observed = { name, life: 1, watched, status, isClosing: false } as unknown as ObservedNode
  nodes.set(name, observed)
  return observed
}

describe('transfers of leadership (thesis §3.10)', () => {
  const timeoutNow = { type: 'timeoutNow', term: 4 } as const

  it('a leader that hands over asks only a voter that has every entry to stand (thesis §3.10)', () => {
    const leader = node('n1', { disk: [1, 4], term: 4, role: 'leader' })
    node('n2', { disk: [1], term: 4 })
    node('n3', { disk: [1, 4], term: 4 })
    expect(() => votes.sent(leader, 'n3', timeoutNow)).not.toThrow()
    expect(() => votes.sent(leader, 'n2', timeoutNow)).toThrow(/^leadership goes to a voter that has everything/)
  })

  it('a leader may ask a voter to stand that lacks what was cut off on the full disk of the leader (raft seed 31103268)', () => {
    const leader = node('n1', { disk: [1, 1, 1], term: 4, role: 'leader', lastIndex: 2 })
    node('n2', { disk: [1, 4], term: 4 })
    node('n3', { disk: [1], term: 4 })
    expect(() => votes.sent(leader, 'n2', timeoutNow)).not.toThrow()
    expect(() => votes.sent(leader, 'n3', timeoutNow)).toThrow(/^leadership goes to a voter that has everything/)
  })

  it('a leader may ask a voter to stand whose log a later leader has cut, because it cannot know of the cut (raft seed 2026201013)', () => {
    const leader = node('n1', { disk: [1, 4], term: 4, role: 'leader' })
    node('n2', { disk: [1], term: 5 })
    expect(() => votes.sent(leader, 'n2', timeoutNow)).not.toThrow()
  })
})

describe('votes', () => {
  /** n2 stands in term 6 with a log that ends with entry 1 of term 1. */
  function ask(voter: ObservedNode): void {
    const candidate = node('n2', { disk: [1], term: 6 })
    const request = { type: 'requestVote', term: 6, lastIndex: 1, lastTerm: 1, transfer: false } as const
    votes.sent(candidate, voter.name, request)
    votes.delivered(voter, 'n2', request)
    votes.sent(voter, 'n2', { type: 'voteReply', term: 6, granted: true })
  }

  it('a voter grants no vote to a candidate whose log is behind (§5.4.1)', () => {
    const voter = node('n3', { disk: [1, 3], term: 6, vote: 'n2' })
    expect(() => ask(voter)).toThrow(/^only an up-to-date candidate is elected/)
  })

  it('a vote may go to a candidate whose log lacks only entries that a leader has cut, even if a full disk still has them (raft seed 2026724946)', () => {
    const voter = node('n3', { disk: [1, 3], term: 6, lastIndex: 1, vote: 'n2' })
    expect(() => ask(voter)).not.toThrow()
  })
})

describe('new leaders', () => {
  it('a new leader may lead with committed entries that its memory has and its full disk lacks (raft seed 2026602847)', () => {
    const invariants = new RaftInvariants(nodes, new Coverage(), { check: () => {} } as unknown as LeaderTenure)
    const holder = node('n1', { disk: [], term: 4 })
    const entries = [1, 4].map((term, i) => ({ index: i + 1, term, kind: 'normal' as const, data: Uint8Array.of(i) }))
    const write = { hardState: { term: 4, vote: undefined, commit: 0 }, entries }
    invariants.log.appending('n1', holder.watched, write, false)
    invariants.log.durable('n1', holder.watched, write)
    for (const index of [1, 2]) {
      invariants.log.committed.push({ ...holder.watched.entries[index]!, inTerm: 4 })
    }
    // n2's full disk still has an older entry 2. The committed one is in its memory, and n3 votes for that.
    const follower = node('n2', { disk: [1, 3], term: 5 })
    invariants.check(follower)
    invariants.votes.sent(follower, 'n3', { type: 'requestVote', term: 5, lastIndex: 2, lastTerm: 4, transfer: false })
    invariants.votes.delivered(follower, 'n3', { type: 'voteReply', term: 5, granted: true })
    const leader = node('n2', { disk: [1, 3], term: 5, role: 'leader', vote: 'n2' })
    expect(() => invariants.check(leader)).not.toThrow()
  })
})
