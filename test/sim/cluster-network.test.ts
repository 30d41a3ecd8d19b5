import { PROTOCOL_BULK, type FrameStream, type Network } from '@quire/protocol'
import { createRandomSource } from '@quire/testing'
import { beforeEach, describe, expect, it } from 'vitest'
import { SimNetwork } from './src/cluster/network.js'
import type { StreamEnd } from './src/cluster/stream-end.js'
import { Coverage } from './src/coverage.js'
import { SimProcess } from './src/process.js'
import { Scheduler } from './src/scheduler.js'

/** A frame as a sender hands it over: its length, then its bytes. */
const frame = (number: number): Uint8Array => Uint8Array.of(3, 0, 0, 0, 0, 0, number)

describe('the simulated network', () => {
  let scheduler: Scheduler
  let network: SimNetwork
  let sender: StreamEnd
  let received: number[]

  beforeEach(async () => {
    scheduler = new Scheduler(false)
    const random = createRandomSource(1)
    network = new SimNetwork({
      scheduler,
      random,
      coverage: new Coverage(),
      roundTripMs: 0,
      latencyMs: 3,
      raftLoss: 0,
      raftDuplication: 0,
      raftReordering: 0,
      dialFailure: 0,
      pieceDamage: 0,
      joined: 0,
      highWaterBytes: 1000,
      lineBytesPerMs: Infinity
    })
    network.isFaulty = false
    received = []
    const join = (id: string): Network => network.attach(id, new SimProcess(id, scheduler, random.fork(id), 1))
    const accept = (stream: FrameStream): void => {
      stream.onFrame = (bytes) => received.push(bytes[2]!)
    }
    join('b').handle(PROTOCOL_BULK, 100, accept)
    const dialing = join('a').dial('b', [], { protocol: PROTOCOL_BULK, maxFrameBytes: 100 })
    await scheduler.run(100)
    sender = (await dialing) as StreamEnd
  })

  const run = (ms: number): Promise<boolean> => scheduler.run(scheduler.now + ms)

  it('the simulated network delivers frames that a cut link has stopped before those that were sent during the cut (seed 1128310228)', async () => {
    sender.send(frame(1))
    sender.send(frame(2))
    network.block('a', 'b')
    sender.send(frame(3))
    await run(50)
    expect(received).toEqual([])
    network.unblock('a', 'b')
    await run(50)
    expect(received).toEqual([1, 2, 3])
  })

  it('the simulated network lets no frame that is on its way overtake one that a cut link has stopped (seed 1128330539)', async () => {
    sender.send(frame(1))
    sender.delayMs = 100
    sender.send(frame(2))
    network.block('a', 'b')
    await run(50)
    // The first frame leaves once more, and takes longer than the second one.
    sender.delayMs = 500
    network.unblock('a', 'b')
    await run(1000)
    expect(received).toEqual([1, 2])
  })

  it('the simulated network is healed once the frames of slow links have arrived (seed 1128300914)', async () => {
    network.slowDown('a', 'b', 1000)
    sender.send(frame(1))
    network.heal()
    const afterMs = network.healedAt - scheduler.now
    expect(afterMs).toBeGreaterThan(100)
    await run(afterMs - 1)
    expect(received).toEqual([])
    await run(2)
    expect(received).toEqual([1])
  })
})
