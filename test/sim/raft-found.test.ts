/**
 * Bugs that the Raft simulation found, by seeds that meet them as long as the simulator draws the same numbers. The rules themselves are tested
 * in packages/raft/test/found-by-simulation.test.ts.
 */
import { describe, it } from 'vitest'
import { expectSoundRaft } from './raft-support.js'

describe('the Raft simulation has found', { timeout: 60_000 }, () => {
  it('seed 14: who alone had its own removal in its log never stood, and nobody else could win', async () => {
    await expectSoundRaft(14, 1)
  })

  it('seed 24: with all appends under way lost, and what they held dropped, a follower got neither entries nor a snapshot', async () => {
    await expectSoundRaft(24, 1)
  })

  it('seed 1: a start took a batch for durable whose write had failed, and a name whose directory was not flushed', async () => {
    await expectSoundRaft(1, 1)
  })

  it('seed 898606215: no bug; a leader that a higher term deposes may take three election timeouts to end a transfer', async () => {
    await expectSoundRaft(898_606_215, 1)
  })

  it('seed 88000546: no bug; so may a leader that an uncommitted change of members leaves out', async () => {
    await expectSoundRaft(88_000_546, 1)
  })

  // The operator uses no id again since; found-by-simulation.test.ts (packages/raft) shows the guard of the core.
  it('seed 2026125339: nodes that lost their logs and came back under their old ids elected one of them, in an old configuration', async () => {
    await expectSoundRaft(2_026_125_339, 1)
  })

  it('seed 2026201013: no bug; a leader that slept through an election asks a voter to stand whose log its successor has cut', async () => {
    await expectSoundRaft(2_026_201_013, 1)
  })

  it('seed 2026204279: late answers of a follower whose disk is full brought appends, and those answers, without end', async () => {
    await expectSoundRaft(2_026_204_279, 1)
  })

  it('seed 2026205379: no bug; where all disks are full, a hand-over to a voter with room left may be under way', async () => {
    await expectSoundRaft(2_026_205_379, 1)
  })

  it('seed 2026205553: no bug; a successor that has less room than in its last answer hands over once more', async () => {
    await expectSoundRaft(2_026_205_553, 1)
  })

  it('seeds 2026300338 and 2026300384: no bug; far apart, a log that gets one entry a round trip is long behind', async () => {
    await expectSoundRaft(2_026_300_338, 1)
    await expectSoundRaft(2_026_300_384, 1)
  })

  it('seed 2026510652: no bug; a leader with a full disk has entries in memory that its disk has in an older form', async () => {
    await expectSoundRaft(2_026_510_652, 1)
  })

  it('seed 2026300285: no bug; a learner that slept drops for the leader of term 5 what term 6 has committed without it', async () => {
    await expectSoundRaft(2_026_300_285, 1)
  })

  it('seed 2026207820: no bug; the operator lost a disk while a demotion was in the memory of a leader with a full disk', async () => {
    await expectSoundRaft(2_026_207_820, 1)
  })

  it('seed 2026601545: no bug; a leader that has just woken still has proposals to take', async () => {
    await expectSoundRaft(2_026_601_545, 1)
  })

  it('seed 2026602847: no bug; what a candidate with a full disk has in memory counts', async () => {
    await expectSoundRaft(2_026_602_847, 1)
  })

  it('seed 2026602364: no bug; a log finds out within a second that there is room again, and leadership moves until then', async () => {
    await expectSoundRaft(2_026_602_364, 1)
  })

  it('seed 2026610685: no bug; a leader that was stalled often, each time for less than three ticks, steps down later', async () => {
    await expectSoundRaft(2_026_610_685, 1)
  })

  it('seed 51: no bug, but the rule that a lower term is answered is needed here', async () => {
    await expectSoundRaft(51, 1)
  })

  it('seed 2026724946: no bug; a full disk still has entries that a leader has cut off, and a vote is given by what is left', async () => {
    await expectSoundRaft(2_026_724_946, 1)
  })
})
