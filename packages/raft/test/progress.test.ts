import { describe, expect, it } from 'vitest'
import { Progress } from '../src/core/progress.js'
import { snapshotOf } from './support/core-harness.js'
import { firstConfiguration } from './support/hand-storage.js'

const SNAPSHOT = snapshotOf(5, 1, firstConfiguration({ voters: ['a'] }))
const canSend = (progress: Progress): boolean => progress.canSend(2, 100)

/** A follower that is known to hold everything up to `match`. */
function replicating(match: number): Progress {
  const progress = new Progress(match + 1)
  progress.accepted(match)
  return progress
}

describe('progress in mode probe (§5.3)', () => {
  it('progress in mode probe sends one append, and the next one when that is answered (§5.3)', () => {
    const progress = new Progress(9)
    expect(canSend(progress)).toBe(true)
    progress.sent(12, 50)
    expect(canSend(progress)).toBe(false)
    expect(progress.next).toBe(9)
    progress.rejected(8, 3)
    expect(progress).toMatchObject({ mode: 'probe', next: 4, match: 0 })
    expect(canSend(progress)).toBe(true)
  })

  it('progress in mode probe steps back at each refusal, and never below the entries that the follower has (§5.3)', () => {
    const progress = new Progress(9)
    // A hint at or above the refused index still makes it step back.
    progress.rejected(8, 20)
    expect(progress.next).toBe(8)
    progress.rejected(7, -1)
    expect(progress.next).toBe(1)
  })

  it('progress in mode probe ignores an answer to any append but the last (§5.3)', () => {
    const progress = new Progress(9)
    progress.sent(9, 10)
    expect(progress.rejected(5, 2)).toBe(false)
    expect(progress).toMatchObject({ next: 9, probeInFlight: true })
  })

  it('progress in mode probe continues in mode replicate after the acknowledged entry (§5.3)', () => {
    const progress = new Progress(9)
    expect(progress.accepted(6)).toBe(true)
    expect(progress).toMatchObject({ mode: 'replicate', match: 6, next: 7 })
  })

  it('progress in mode probe waits if the follower refuses what it has acknowledged, because its log is lost (§5.3)', () => {
    const progress = replicating(4)
    progress.sent(6, 10)
    progress.rejected(6, 0)
    expect(progress).toMatchObject({ mode: 'probe', next: 5, match: 4 })
    progress.sent(6, 10)
    expect(progress.rejected(4, 0)).toBe(false)
    expect(canSend(progress)).toBe(false)
  })
})

describe('progress in mode replicate', () => {
  it('progress in mode replicate sends ahead of the acknowledgments, up to its limits of messages and bytes', () => {
    const progress = replicating(1)
    progress.sent(2, 10)
    expect(progress.next).toBe(3)
    progress.sent(3, 10)
    expect(canSend(progress)).toBe(false)
    progress.accepted(2)
    expect(canSend(progress)).toBe(true)
    progress.sent(4, 95)
    progress.accepted(3)
    expect(canSend(progress)).toBe(true)
    progress.sent(5, 10)
    expect(canSend(progress)).toBe(false)
  })

  it('progress in mode replicate takes one acknowledgment for everything sent before, and counts none twice', () => {
    const progress = replicating(1)
    progress.sent(2, 60)
    progress.sent(3, 60)
    expect(progress.accepted(3)).toBe(true)
    expect(progress.accepted(3)).toBe(false)
    expect(progress.accepted(2)).toBe(false)
    expect(progress).toMatchObject({ match: 3, next: 4 })
    expect(canSend(progress)).toBe(true)
  })

  it('progress in mode replicate skips entries that the follower has already, even if this leader has not sent them', () => {
    const progress = replicating(1)
    progress.accepted(7)
    expect(progress).toMatchObject({ match: 7, next: 8 })
  })

  it('progress in mode replicate returns to mode probe at the acknowledged entry after a loss, but not for a late refusal', () => {
    const progress = replicating(4)
    progress.sent(6, 10)
    expect(progress.rejected(3, 1)).toBe(false)
    expect(progress.mode).toBe('replicate')
    expect(progress.rejected(6, 4)).toBe(true)
    expect(progress).toMatchObject({ mode: 'probe', next: 5, match: 4, probeInFlight: false })
  })
})

describe('progress in mode snapshot (§7)', () => {
  it('progress in mode snapshot sends no appends until the follower has the snapshot (§7)', () => {
    const progress = replicating(1)
    progress.becomeSnapshot(SNAPSHOT)
    expect(progress).toMatchObject({ mode: 'snapshot', outgoingSnapshot: { offset: 0, piece: 'none' } })
    expect(canSend(progress)).toBe(false)
    progress.accepted(4)
    expect(progress).toMatchObject({ mode: 'snapshot', match: 4 })
    expect(progress.rejected(9, 4)).toBe(false)
    progress.accepted(5)
    expect(progress).toMatchObject({ mode: 'replicate', match: 5, next: 6, outgoingSnapshot: undefined })
  })

  it('progress in mode snapshot ends with any acknowledgment at or beyond the snapshot (§7)', () => {
    const progress = new Progress(9)
    progress.becomeSnapshot(SNAPSHOT)
    progress.accepted(8)
    expect(progress).toMatchObject({ mode: 'replicate', next: 9 })
  })
})
