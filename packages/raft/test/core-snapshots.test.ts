import { describe, expect, it } from 'vitest'
import { createRaftCore, type PieceWanted, type SnapshotMeta } from '../src/core/index.js'
import { accepted, append, CoreHarness, LIMITS, rejected, snapshotOf } from './support/core-harness.js'
import { firstConfiguration } from './support/hand-storage.js'

const SNAPSHOT = snapshotOf(5, 2, firstConfiguration({ voters: ['a', 'b', 'c', 'd'] }))

function piece(
  offset: number,
  options: { snapshot?: SnapshotMeta; term?: number; done?: boolean; length?: number } = {}
) {
  const { snapshot = SNAPSHOT, term = 2, done = false, length = 4 } = options
  return { type: 'snapshot', term, snapshot, offset, data: new Uint8Array(length), crc: 0, done } as const
}

const wants = (index: number, offset: number, term = 2) =>
  ({ type: 'snapshotReply', term, index, offset, refused: false }) as const

/** Figure 13, "InstallSnapshot RPC, Receiver implementation". */
describe('followers that receive a snapshot', () => {
  const store = (node: CoreHarness): CoreHarness => {
    node.core.pieceStored(node.received.at(-1)!)
    return node.drain()
  }
  const install = (node: CoreHarness): CoreHarness => {
    node.core.snapshotInstalled(node.installs.at(-1)!)
    return node.drain()
  }

  it('a follower that receives a snapshot takes nothing from a leader of an earlier term, and answers with its own term (InstallSnapshot 1)', () => {
    const node = new CoreHarness({ term: 3 }).step('b', piece(0, { done: true }))
    expect(node.received).toEqual([])
    expect(node.take('snapshotReply')[0]!.message.term).toBe(3)
  })

  it('a follower begins a snapshot with the first piece, and stores one piece after the other (InstallSnapshot 2, 3)', () => {
    const node = new CoreHarness().step('b', piece(0))
    expect(node.received).toMatchObject([{ offset: 0, done: false }])
    expect(
      store(node)
        .take('snapshotReply')
        .map(({ message }) => message)
    ).toEqual([wants(5, 4)])
    expect(node.step('b', piece(4)).received).toMatchObject([{ offset: 0 }, { offset: 4 }])
  })

  it('a follower asks for the right piece of a snapshot when another one arrives (InstallSnapshot 4)', () => {
    const node = store(new CoreHarness().step('b', piece(0)))
    node.sent.length = 0
    for (const offset of [0, 8, 12]) node.step('b', piece(offset))
    expect(node.take('snapshotReply').map(({ message }) => message)).toEqual([wants(5, 4), wants(5, 4), wants(5, 4)])
    expect(node.received).toHaveLength(1)
  })

  it('a follower starts a snapshot over when the leader does, whose store can no longer read the later pieces', () => {
    const node = store(store(new CoreHarness().step('b', piece(0))).step('b', piece(4)))
    node.sent.length = 0
    store(node.step('b', piece(0)))
    expect(node.take('snapshotReply').map(({ message }) => message)).toEqual([wants(5, 4)])
    expect(node.received).toMatchObject([{ offset: 0 }, { offset: 4 }, { offset: 0 }])
  })

  it('a follower stores one piece of a snapshot at a time, and drops pieces that arrive meanwhile, because the leader repeats them', () => {
    const node = new CoreHarness().step('b', piece(0)).step('b', piece(4)).step('b', piece(0))
    expect(node.received).toHaveLength(1)
    expect(node.sent).toEqual([])
  })

  it('a follower drops an unfinished snapshot for a newer one, but not for an older one that is late (InstallSnapshot 5)', () => {
    const node = store(new CoreHarness().step('b', piece(0)))
    const newer = snapshotOf(9, 2, SNAPSHOT.configuration)
    store(node.step('b', piece(0, { snapshot: newer })))
    node.sent.length = 0
    node.step('b', piece(0)).step('b', piece(4))
    expect(node.received).toHaveLength(2)
    expect(node.sent).toEqual([])
    expect(node.step('b', piece(4, { snapshot: newer })).received).toHaveLength(3)
  })

  it('a follower starts a snapshot over with a new leader, whose pieces may differ', () => {
    const node = store(new CoreHarness().step('b', piece(0)))
    node.step('c', piece(4, { term: 3 }))
    expect(node.take('snapshotReply').at(-1)!.message).toEqual(wants(5, 0, 3))
    expect(node.step('c', piece(0, { term: 3 })).received).toHaveLength(2)
  })

  it("a follower does not count an earlier leader's piece of a snapshot that was being stored", () => {
    const node = new CoreHarness().step('b', piece(0)).step('c', append(3, 1, 1))
    node.sent.length = 0
    expect(store(node).sent).toEqual([])
    node.step('c', piece(4, { term: 3 }))
    expect(node.take('snapshotReply').at(-1)!.message).toEqual(wants(5, 0, 3))
  })

  it('a follower installs the snapshot in its state machine first, and then starts its log after it (InstallSnapshot 7, 8)', () => {
    const node = new CoreHarness({ terms: [1, 1, 1], commit: 2 }).step('b', piece(0, { done: true }))
    expect(store(node).installs).toEqual([SNAPSHOT])
    expect(node.core).toMatchObject({ lastIndex: 3, appliedIndex: 2 })
    install(node)
    expect(node.core).toMatchObject({ firstIndex: 6, lastIndex: 5, commitIndex: 5, appliedIndex: 5 })
    expect(node.core.configuration.voters).toEqual(['a', 'b', 'c', 'd'])
    expect(node.storage).toMatchObject({ firstIndex: 6, lastIndex: 5, hardState: { term: 2, commit: 5 } })
    expect(node.take('appendReply').at(-1)).toMatchObject({ message: accepted(2, 5), late: true })
  })

  it("a follower keeps the entries after the snapshot if its log has the snapshot's last entry (InstallSnapshot 6)", () => {
    const node = new CoreHarness().step('b', piece(0, { done: true }))
    // The entries arrive before the snapshot is installed.
    store(node).step('b', append(2, 1, 1, [2, 2, 2, 2, 2]))
    install(node)
    expect(node.core).toMatchObject({ firstIndex: 1, lastIndex: 6, commitIndex: 5, appliedIndex: 5 })
  })

  it('a follower takes a snapshot that its log covers as a commit index, and ignores a stale one (InstallSnapshot 6)', () => {
    const node = new CoreHarness({ terms: [1, 2, 2, 2, 2, 2] }).step('b', piece(0))
    expect(node.core.commitIndex).toBe(5)
    node.step('b', piece(0, { snapshot: snapshotOf(3, 2, SNAPSHOT.configuration) }))
    expect(node.received).toEqual([])
    expect(node.take('appendReply').map(({ message }) => message)).toEqual([accepted(2, 5), accepted(2, 5)])
  })

  it('a follower installs no snapshot while it applies entries, and applies nothing while it installs', () => {
    const node = new CoreHarness({ terms: [1, 2, 2] }).step('b', append(2, 3, 2, [], 2))
    node.core.step('b', append(2, 3, 2, [], 3))
    const { committed } = node.core.ready()!
    expect(committed).toHaveLength(1)
    store(node.step('b', piece(0, { done: true })))
    expect(node.installs).toEqual([])
    node.core.applied(3)
    node.drain().step('b', append(2, 3, 2, [2], 4))
    expect(node.installs).toHaveLength(1)
    expect(node.applied.at(-1)!.index).toBe(2)
  })

  it('a follower does not install a snapshot that entries have overtaken while its last piece was stored', () => {
    const node = new CoreHarness().step('b', piece(0, { done: true }))
    node.step('b', append(2, 1, 1, [2, 2, 2, 2, 2], 6))
    expect(store(node).installs).toEqual([])
    expect(node.core).toMatchObject({ firstIndex: 1, appliedIndex: 6 })
  })

  it('a follower reports a snapshot that could not be installed, and waits for it from the beginning', () => {
    const node = store(new CoreHarness().step('b', piece(0, { done: true })))
    node.core.snapshotRefused(node.installs[0]!)
    node.drain()
    expect(node.take('snapshotReply').at(-1)!.message).toEqual({ ...wants(5, 0), refused: true })
    expect(node.step('b', piece(0)).received).toHaveLength(2)
  })

  it('a node stops if it is told of the installation of a snapshot that it did not ask for', () => {
    expect(() => new CoreHarness().core.snapshotInstalled(SNAPSHOT)).toThrow(/was not being installed/)
  })
})

describe('a start after a crash between the snapshot and the log (Figure 13, 8)', () => {
  const start = (terms: readonly number[], snapshot: SnapshotMeta) => {
    const { storage } = new CoreHarness({ terms })
    return createRaftCore({
      id: 'a',
      log: storage,
      hardState: storage.hardState,
      configurations: storage.configurations,
      snapshot,
      appliedIndex: snapshot.index,
      electionTicks: 10,
      heartbeatTicks: 2,
      limits: LIMITS,
      random: () => 0
    })
  }

  it('a start after a crash between snapshot and log starts the log after the snapshot, and makes that durable (Figure 13, 8)', () => {
    const core = start([1, 1, 1], SNAPSHOT)
    expect(core).toMatchObject({ firstIndex: 6, lastIndex: 5, commitIndex: 5, appliedIndex: 5, term: 2 })
    expect(core.configuration.voters).toEqual(['a', 'b', 'c', 'd'])
    expect(core.ready()!.write).toMatchObject({ reset: SNAPSHOT, hardState: { term: 2, vote: undefined, commit: 5 } })
  })

  it('a start after a crash between snapshot and log replaces a log that holds other entries there (Figure 13, 8)', () => {
    expect(start([1, 1, 1, 1, 1, 1], SNAPSHOT)).toMatchObject({ firstIndex: 6, lastIndex: 5 })
  })

  it('a start after a crash between snapshot and log keeps a log that holds the last entry of the snapshot (Figure 13, 8)', () => {
    const core = start([1, 2, 2, 2, 2, 2], SNAPSHOT)
    expect(core).toMatchObject({ firstIndex: 1, lastIndex: 6, commitIndex: 5 })
    expect(core.ready()).toBeUndefined()
  })
})

describe('leaders that send a snapshot', () => {
  /** b lacks entries from 2 on; the log starts after 4. */
  function leader(): CoreHarness {
    const node = new CoreHarness({ terms: [1, 1, 1, 1], commit: 4, compacted: 4 }).lead().accept('c', 5)
    node.sent.length = 0
    return node.step('b', rejected(2, 4, 1, 1))
  }
  const read = (node: CoreHarness, wanted: PieceWanted, done = false): CoreHarness => {
    node.core.pieceRead(wanted, { data: new Uint8Array(4), crc: 0, done })
    return node.drain()
  }

  it('a leader sends a follower that needs compacted entries the snapshot, one piece after the other (Figure 13)', () => {
    const node = leader()
    expect(node.wanted).toMatchObject([{ to: 'b', offset: 0, snapshot: { index: 4, term: 1 } }])
    expect(read(node, node.wanted[0]!).take('snapshot')).toMatchObject([
      { to: 'b', message: { offset: 0, done: false } }
    ])
    expect(node.step('b', wants(4, 4)).wanted).toMatchObject([{ offset: 0 }, { offset: 4 }])
    expect(read(node, node.wanted[1]!, true).take('snapshot')).toMatchObject([{ message: { offset: 4, done: true } }])
  })

  it('a leader goes on with appends when the follower has the snapshot', () => {
    const node = leader()
    read(node, node.wanted[0]!, true)
    node.sent.length = 0
    node.accept('b', 4)
    expect(node.take('append')).toMatchObject([{ to: 'b', message: { prevIndex: 4, entries: [{ index: 5 }] } }])
  })

  it('while a leader sends a snapshot, it sends no appends, and takes no late acknowledgment for the end of the snapshot', () => {
    const node = leader()
    node.sent.length = 0
    node.core.propose([new Uint8Array(1)])
    node
      .drain()
      .step('b', rejected(2, 4, 1, 1))
      .accept('b', 1)
    expect(node.take('append').map(({ to }) => to)).toEqual(['c'])
  })

  it('a leader reads no piece of a snapshot twice at once, and repeats a piece that is not answered', () => {
    const node = leader().hearOf('b')
    expect(node.wanted).toHaveLength(1)
    read(node, node.wanted[0]!).hearOf('b')
    expect(node.wanted.map(({ offset }) => offset)).toEqual([0, 0])
  })

  it('a leader repeats no piece of a snapshot because of read rounds (thesis §6.4)', () => {
    const node = leader()
    read(node, node.wanted[0]!)
    for (let round = 1; round <= 10; round++) {
      node.core.readIndex(round)
      node.drain().step('b', { type: 'heartbeatReply', term: 2, round, room: 'enough' })
    }
    expect(node.wanted).toHaveLength(1)
  })

  it('a leader ignores duplicate answers to pieces of a snapshot, and answers about another snapshot', () => {
    const node = leader()
    read(node, node.wanted[0]!)
    node.step('b', wants(4, 0)).step('b', wants(3, 9)).step('x', wants(4, 4))
    expect(node.wanted).toHaveLength(1)
  })

  it('a leader drops a piece of a snapshot that its disk delivers too late', () => {
    const node = leader()
    node.step('b', wants(4, 8))
    node.sent.length = 0
    expect(read(node, node.wanted[0]!).take('snapshot')).toEqual([])
    node.accept('b', 5)
    node.sent.length = 0
    expect(read(node, node.wanted[1]!).sent).toEqual([])
  })

  it('a leader changes to a newer snapshot that has replaced the one it was sending', () => {
    const node = leader()
    node.storage.compact(5)
    node.core.snapshotTaken(node.core.snapshotMeta(5))
    node.core.pieceRead(node.wanted[0]!, undefined)
    expect(node.drain().wanted.at(-1)).toMatchObject({ offset: 0, snapshot: { index: 5 } })
  })

  it('a leader asks for the snapshot again later if it is gone and no newer one exists', () => {
    const node = leader()
    node.core.pieceRead(node.wanted[0]!, undefined)
    expect(node.drain().wanted).toHaveLength(1)
    expect(node.hearOf('b').wanted.at(-1)).toMatchObject({ offset: 0, snapshot: { index: 4 } })
  })

  it('a leader starts a snapshot over if the follower could not install it, but not at once', () => {
    const node = leader()
    read(node, node.wanted[0]!, true).step('b', { ...wants(4, 0), refused: true })
    expect(node.wanted).toHaveLength(1)
    expect(node.hearOf('b').wanted).toHaveLength(2)
  })

  it('a leader sends nothing if no snapshot exists', () => {
    const node = new CoreHarness({ terms: [1, 1, 1, 1] }).lead().accept('c', 5)
    node.storage.compact(4)
    node.step('b', rejected(2, 4, 1, 1)).hearOf('b')
    expect(node.wanted).toEqual([])
    expect(node.core.role).toBe('leader')
  })
})

describe('snapshots of the state machine', () => {
  it('a snapshot is identified by its last entry and the configuration in force there (§7)', () => {
    const changes = new Map([[3, { voters: ['a', 'b'] }]])
    const node = new CoreHarness({ terms: [1, 1, 2, 2], commit: 4, changes }).drain()
    expect(node.core.snapshotMeta(2)).toMatchObject({ index: 2, term: 1, configuration: { index: 1 } })
    expect(node.core.snapshotMeta(4)).toMatchObject({ index: 4, term: 2, configuration: { index: 3 } })
    expect(() => node.core.snapshotMeta(5)).toThrow(/index 5 is outside 0..4/)
  })

  it('a snapshot is not replaced by an older one', () => {
    const node = new CoreHarness({ terms: [1, 1, 1, 1], commit: 4 }).lead().accept('c', 5)
    const older = node.core.snapshotMeta(2)
    node.core.snapshotTaken(node.core.snapshotMeta(4))
    node.core.snapshotTaken(older)
    node.storage.compact(4)
    node.step('b', rejected(2, 4, 1, 1))
    expect(node.wanted).toMatchObject([{ snapshot: { index: 4 } }])
  })
})
