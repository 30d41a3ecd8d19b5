/**
 * Seeds in which the simulator once saw a fault where there was none. Everything else that seeds have found has a
 * script of its own: bugs in the tests of their package, misjudgments of one part in the tests of that part in this
 * folder. These few need a whole cluster. A seed stands for its case only as long as the simulator draws the same
 * numbers.
 */
import { describe, it } from 'vitest'
import { expectSound } from './cluster-support.js'
import { expectSoundRaft } from './raft-support.js'

// Virtual time: the processor alone decides how long a seed takes.
describe('the simulation of Raft finds no fault', { timeout: 60_000 }, () => {
  // These concern a cluster that comes to rest. Each needs an operator, clients and several full disks at once.
  it('if a leader that an uncommitted change leaves out takes three election timeouts to end a transfer (seed 88000546)', async () => {
    await expectSoundRaft(88_000_546, 1)
  })

  it('if a leader hands over while all disks are full and some voter still has room for the open file (seed 2026205379)', async () => {
    await expectSoundRaft(2_026_205_379, 1)
  })

  it('if a successor has less room than its last answer said, and hands over once more (seed 2026205553)', async () => {
    await expectSoundRaft(2_026_205_553, 1)
  })

  it('if a log far away catches up by one entry a round trip (seeds 2026300338 and 2026300384)', async () => {
    await expectSoundRaft(2_026_300_338, 1)
    await expectSoundRaft(2_026_300_384, 1)
  })

  it('if leadership moves for the second that a log takes to notice that its disk has room again (seed 2026602364)', async () => {
    await expectSoundRaft(2_026_602_364, 1)
  })

  // The operator knows only what leaders tell it. This takes a demotion in the memory of a leader with a full disk.
  it('if an operator replaces a lost disk while a demotion is not durable anywhere (seed 2026207820)', async () => {
    await expectSoundRaft(2_026_207_820, 1)
  })
})

describe('the simulation of the cluster finds no fault', { timeout: 60_000 }, () => {
  // Only a real client knows that its lease has ended, and only another one can take its pages.
  it('if a client that slept past its lease holds pages that others have written since (seed 3088)', async () => {
    await expectSound(3088, 1)
  })

  // Two programs of one client and another client have to want the same page at the end of the seed.
  it('if a program pins a page twice and so makes itself and others wait (seed 1128500026)', async () => {
    await expectSound(1_128_500_026, 1)
  })

  // Which writes a copy of a folder holds is decided by the disk of a real peer, in the middle of a write.
  it('if a copy of a folder holds entries that its peer was writing when it stopped or crashed (seed 1128510192)', async () => {
    await expectSound(1_128_510_192, 1)
  })
})
