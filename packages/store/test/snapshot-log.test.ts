import { CorruptionError } from '@quire/protocol'
import { FakeClock } from '@quire/testing'
import pino, { type Logger } from 'pino'
import { Writable } from 'node:stream'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import { SnapshotLog } from '../src/peer/snapshot-log.js'
import { LonePeer } from './support/lone-peer.js'

interface Line {
  readonly msg: string
  readonly [field: string]: unknown
}

let lines: Line[]
let logger: Logger

beforeEach(() => {
  lines = []
  const stream = new Writable({
    write(chunk, _encoding, done) {
      const { level: _level, component, self: _self, ...line } = JSON.parse(String(chunk)) as Line
      if (component === 'snapshots' || component === undefined) lines.push(line)
      done()
    }
  })
  logger = pino({ level: 'info', base: null, timestamp: false }, stream)
})

/** A peer with some state, all of it in a checkpoint, and with a follower. */
async function leading(): Promise<LonePeer> {
  const peer = await new LonePeer({ logger }).start()
  const progress = { matchIndex: 0, answers: true, hasCaughtUp: false }
  vi.spyOn(peer.core.root.node!, 'followers').mockReturnValue(new Map([['follower', progress]]))
  peer.createFiles(100)
  await peer.clock.advance(100)
  await peer.run(peer.core.root.replica.applier.checkpoint())
  return peer
}

describe('the log lines of a peer about snapshots', () => {
  it('a peer logs the begin and the end of a snapshot that it sends, and the follower logs its installation', async () => {
    const leader = await leading()
    const { applier, snapshots } = leader.core.root.replica
    const snapshot = leader.core.root.node!.snapshotMeta(applier.durableIndex)
    const { index } = snapshot
    const follower = await new LonePeer({ logger }).start()
    let receivedBytes = 0
    for (let isDone = false; !isDone;) {
      const piece = await leader.run(snapshots.read('follower', index, receivedBytes, 2048))
      await follower.run(follower.core.root.replica.snapshots.write(snapshot, receivedBytes, piece!.data))
      await Promise.all([leader, follower].map(({ clock }) => clock.advance(1000)))
      receivedBytes += piece!.data.length
      isDone = piece!.done
    }
    await follower.run(follower.core.root.replica.snapshots.install(snapshot))
    const number: unknown = expect.any(Number)
    expect(lines).toEqual([
      { msg: 'a snapshot is being sent', peer: 'follower', index, totalBytes: applier.usage()!.usedBytes },
      { msg: 'a snapshot has been sent', peer: 'follower', index, sentBytes: receivedBytes, durationMs: number },
      { msg: 'a snapshot from the leader has become the state', index, receivedBytes, durationMs: number }
    ])
    expect(lines[1]!['durationMs']).toBeGreaterThanOrEqual(2000)
    expect(lines[2]!['durationMs']).toBeGreaterThanOrEqual(3000)
    await leader.stop()
    await follower.stop()
    // A transfer that was sent to its end does not end a second time.
    expect(lines).toHaveLength(3)
  })

  it('a peer logs why a snapshot was not sent to its end', async () => {
    const leader = await leading()
    const { applier, snapshots } = leader.core.root.replica
    const begin = async (): Promise<void> => {
      await leader.run(snapshots.read('follower', applier.durableIndex, 0, 1024))
    }
    await begin()
    await leader.clock.advance(61_000)
    await begin()
    await leader.run(snapshots.read('follower', applier.durableIndex, lastSent(snapshots), 1024))
    await begin()
    await leader.stop()
    expect(lines.flatMap(({ msg, reason }) => (msg === 'a snapshot was not sent to its end' ? [reason] : []))).toEqual([
      'the follower asks for nothing',
      'the follower starts over',
      'this peer stops'
    ])
  })

  it('a snapshot that is sent to one follower over and over takes four pairs of lines in ten minutes, and a later line counts the others', () => {
    const clock = new FakeClock()
    const log = new SnapshotLog(logger, clock)
    const transfer = (to: string): void => {
      log.begun({ to, index: 7, totalBytes: 1000 })
      log.ended({ to, index: 7, sentBytes: 10, durationMs: 5, reason: 'the follower starts over' })
    }
    for (let i = 0; i < 50; i++) transfer('one')
    expect(lines).toHaveLength(8)
    transfer('two/2b')
    expect(lines).toHaveLength(10)
    clock.sleep(600_000)
    transfer('one')
    transfer('two/2b')
    expect(lines.slice(10).map(({ peer, unlogged }) => [peer, unlogged])).toEqual([
      ['one', 46],
      ['one', undefined],
      ['two', undefined],
      ['two', undefined]
    ])
  })

  it('a peer logs a snapshot that it refuses, once until one becomes its state', () => {
    const log = new SnapshotLog(logger, new FakeClock())
    const configuration = { index: 1, term: 1, kind: 'config', data: new Uint8Array(0) } as const
    const snapshot = { index: 7, term: 1, configuration }
    for (let i = 0; i < 5; i++) log.refused(snapshot, new CorruptionError('snapshot 7', undefined, 'a row is damaged'))
    expect(lines).toEqual([
      { msg: 'a snapshot from the leader is refused', index: 7, reason: expect.stringContaining('a row is damaged') }
    ])
    log.installed(snapshot, { receivedBytes: 10, durationMs: 5 })
    log.refused(snapshot, new CorruptionError('snapshot 7', undefined, 'a row is damaged'))
    expect(lines).toHaveLength(3)
  })
})

function lastSent({ sending }: LonePeer['core']['root']['replica']['snapshots']): number {
  return sending[0]!.sentBytes
}
