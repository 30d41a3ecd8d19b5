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
describe('cases that the simulation of Raft once judged wrongly', { timeout: 60_000 }, () => {
  // These concern a cluster that comes to rest. Each needs an operator, clients and several full disks at once.
  it('a leader that an uncommitted change leaves out may take three election timeouts to end a transfer (seed 88000546)', async () => {
    await expectSoundRaft(88_000_546, 1)
  })

  it('a leader may hand over while all disks are full if some voter still has room for the open file (seed 2026205379)', async () => {
    await expectSoundRaft(2_026_205_379, 1)
  })

  it('a successor that has less room than its last answer said may hand over once more (seed 2026205553)', async () => {
    await expectSoundRaft(2_026_205_553, 1)
  })

  it('a log far away may catch up by one entry a round trip (seeds 2026300338 and 2026300384)', async () => {
    await expectSoundRaft(2_026_300_338, 1)
    await expectSoundRaft(2_026_300_384, 1)
  })

  it('leadership may move during the second that a log takes to notice that its disk has room again (seed 2026602364)', async () => {
    await expectSoundRaft(2_026_602_364, 1)
  })

  // The operator knows only what leaders tell it. This takes a demotion in the memory of a leader with a full disk.
  it('an operator may replace a lost disk while a demotion is not durable anywhere (seed 2026207820)', async () => {
    await expectSoundRaft(2_026_207_820, 1)
  })
})

describe('cases that the simulation of the cluster once judged wrongly', { timeout: 60_000 }, () => {
  // Only a real client knows that its lease has ended, and only another one can take its pages.
  it('a client that slept past its lease may hold pages that others have written since (seed 3088)', async () => {
    await expectSound(3088, 1)
  })

  // Two programs of one client and another client have to want the same page at the end of the seed.
  it('a program that pins a page twice may make itself and others wait (seed 1128500026)', async () => {
    await expectSound(1_128_500_026, 1)
  })

  // A leader stalls during a first handshake, that client dies, and a program wants its page.
  it('after a slow handshake, a client that dies may hold pages for a longer TTL (seed 475)', async () => {
    await expectSound(475, 1)
  })

  // Which writes a copy of a folder holds is decided by the disk of a real peer, in the middle of a write.
  // A founding cluster with one peer that starts late, and an operator.
  it('a machine may not be lost for good while the new folder of another founder is not admitted (seed 1128651918)', async () => {
    await expectSound(1_128_651_918, 1)
  })

  it('a copy of a folder may hold entries that its peer was writing when it stopped or crashed (seed 1128510192)', async () => {
    await expectSound(1_128_510_192, 1)
  })

  // A head is lost between a checkpoint and the repair, just before the digests.
  it('a page that has lost its head is damaged in a digest, not absent (seed 1130500005)', async () => {
    await expectSound(1_130_500_005, 1)
  })

  // Voters are removed and replaced until one of them is left.
  it('a leader without any other peer hands its leadership to nobody (seed 36000555)', async () => {
    await expectSound(36_000_555, 1)
  })
})
