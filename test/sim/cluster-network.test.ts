import { PROTOCOL_BULK, type FrameStream, type Network } from '@quire/protocol'
import { createRandomSource } from '@quire/testing'
import { beforeEach, describe, expect, it } from 'vitest'
import type { Gate, SimNode } from './src/cluster/network-types.js'
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

  describe('with a relay', () => {
    const MEMBERS = ['b', 'r']
    const GATE: Gate = { allow: () => true, isMember: (id) => MEMBERS.includes(id) }
    const OPTIONS = { protocol: PROTOCOL_BULK, maxFrameBytes: 100 }
    let client: SimNode
    let relay: SimNode
    let member: SimNode
    let relayProcess: SimProcess
    let link: StreamEnd

    beforeEach(async () => {
      const random = createRandomSource(2)
      const processOf = (id: string): SimProcess => new SimProcess(id, scheduler, random.fork(id), 1)
      relayProcess = processOf('r')
      client = network.attach('c', processOf('c'))
      relay = network.attach('r', relayProcess)
      member = network.attach('b', processOf('b'))
      for (const node of [relay, member]) node.setGate(GATE)
      member.handle(PROTOCOL_BULK, 100, (stream) => {
        stream.onFrame = (bytes) => received.push(bytes[2]!)
      })
      // Raft keeps such a connection open.
      link = await opened(relay.dial('b', [], OPTIONS))
    })

    async function opened(dialing: Promise<FrameStream>): Promise<StreamEnd> {
      await run(4000)
      return (await dialing) as StreamEnd
    }

    const dial = (): Promise<FrameStream> => {
      const dialing = client.dial('b', [], { ...OPTIONS, relay: { peerId: 'r', addresses: [] } })
      // Its failure is looked at later.
      dialing.catch(() => {})
      return dialing
    }

    it('a stream through a relay carries frames while the link between its ends is cut', async () => {
      network.block('c', 'b')
      network.block('b', 'c')
      sender = await opened(dial())
      sender.send(frame(1))
      await run(50)
      expect(sender.remote).toBe('b')
      expect(received).toEqual([1])
    })

    it.each([
      ['c', 'r'],
      ['r', 'b']
    ])('a stream through a relay waits while the link from %s to %s is cut', async (from, to) => {
      sender = await opened(dial())
      network.block(from, to)
      sender.send(frame(1))
      await run(50)
      expect(received).toEqual([])
      network.unblock(from, to)
      await run(50)
      expect(received).toEqual([1])
    })

    it('a stream through a relay waits while the process of the relay is stalled', async () => {
      sender = await opened(dial())
      relayProcess.stall(500)
      sender.send(frame(1))
      await run(400)
      expect(received).toEqual([])
      await run(200)
      expect(received).toEqual([1])
    })

    it.each([
      ['the process of the relay', false],
      ['the machine of the relay', true]
    ])('a stream through a relay ends when %s dies', async (_what, withMachine) => {
      sender = await opened(dial())
      relayProcess.kill()
      network.died('r', withMachine)
      await run(7000)
      expect(sender.isOver).toBe(true)
      expect(sender.other.isOver).toBe(true)
    })

    it.each<[string, () => void]>([
      ['the relay does not know the member', () => relay.setGate({ ...GATE, isMember: (id) => id === 'r' })],
      ['the relay denies the client', () => relay.setGate({ ...GATE, allow: (id) => id !== 'c' || 'denied' })],
      ['the member denies the client', () => member.setGate({ ...GATE, allow: (id) => id !== 'c' || 'denied' })],
      ['the relay is no member', () => member.setGate({ ...GATE, isMember: (id) => id === 'b' })],
      ['the relay knows the client as a member', () => relay.setGate({ ...GATE, isMember: () => true })],
      ['the member knows the client as a member', () => member.setGate({ ...GATE, isMember: () => true })],
      ['the relay has no connection to the member', () => link.abort(new Error('gone'))]
    ])('a stream through a relay is refused if %s', async (_why, arrange) => {
      arrange()
      await run(1000)
      await expect(opened(dial())).rejects.toThrow('b: refused')
    })

    it.each<[string, () => void]>([
      ['the relay denies the client', () => relay.setGate({ ...GATE, allow: (id) => id !== 'c' || 'denied' })],
      ['the member denies the client', () => member.setGate({ ...GATE, allow: (id) => id !== 'c' || 'denied' })],
      ['the member no longer admits the relay', () => member.setGate({ ...GATE, allow: (id) => id !== 'r' || 'gone' })]
    ])('a stream through a relay is cut when %s', async (_why, arrange) => {
      sender = await opened(dial())
      arrange()
      await run(1000)
      expect(sender.isOver).toBe(true)
      expect(sender.other.isOver).toBe(true)
    })
  })
})
