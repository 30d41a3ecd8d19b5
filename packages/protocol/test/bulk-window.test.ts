/** The window against lines in virtual time: a sender that always has more, a line, and a receiver that acknowledges. */
import { describe, expect, it } from 'vitest'
import { BulkReceipts, BulkWindow, bulkDelays, silenceLimit } from '../src/index.js'

const PAGE_FRAME = 4160

interface Line {
  readonly bytesPerMs: number
  /** Both ways together. */
  readonly roundTripMs: number
}

/** Sends frames for a while. Returns how long each waited for those before it, and how many bytes arrived. */
function stream({ bytesPerMs, roundTripMs }: Line, window: BulkWindow, frameBytes: number, forMs: number, start = 0) {
  const receipts: { at: number; total: number }[] = []
  const waits: number[] = []
  let [freeAt, total, arrived] = [start, 0, 0]
  for (let now = start; now < start + forMs; now++) {
    while (receipts[0] !== undefined && receipts[0].at <= now) {
      expect(window.acknowledged(receipts[0].total, now)).toBe(true)
      arrived = receipts.shift()!.total
    }
    while (window.hasRoom(frameBytes)) {
      window.left(frameBytes, now)
      total += frameBytes
      waits.push(Math.max(0, freeAt - now))
      freeAt = Math.max(now, freeAt) + frameBytes / bytesPerMs
      receipts.push({ at: freeAt + roundTripMs, total })
    }
  }
  return { waits, arrived }
}

const KBIT = 1 / 8

describe('the bulk window', () => {
  it.each([
    ['1 Mbit/s', 1000 * KBIT, 10_000],
    ['256 kbit/s', 256 * KBIT, 10_000],
    ['64 kbit/s', 64 * KBIT, 10_000],
    ['256 kbit/s', 256 * KBIT, 2000]
  ])('on a line of %s nothing waits longer than a fraction of the TTL, and the line is used', (_, bytesPerMs, ttl) => {
    const { queueMs, baseMs } = bulkDelays(ttl)
    const { waits, arrived } = stream({ bytesPerMs, roundTripMs: 20 }, new BulkWindow(ttl), PAGE_FRAME, 60_000)
    // The first receipts let more go than the line carries. Behind it, the line's own time and the queue's.
    const settled = waits.slice(Math.ceil((2 * 32 * 1024) / PAGE_FRAME))
    expect(Math.max(...settled)).toBeLessThanOrEqual(Math.max(queueMs + baseMs, PAGE_FRAME / bytesPerMs))
    expect(arrived).toBeGreaterThan(0.8 * bytesPerMs * 60_000)
  })

  it('opens from one page to twice what a fast line holds within 20 ms', () => {
    const window = new BulkWindow(10_000)
    const line = { bytesPerMs: 100_000, roundTripMs: 1 }
    const { arrived } = stream(line, window, PAGE_FRAME, 20)
    expect(window.bytes).toBeGreaterThan(2 * line.bytesPerMs * line.roundTripMs)
    expect(arrived).toBeGreaterThan(4 * line.bytesPerMs * line.roundTripMs)
  })

  it.each([
    [10_000, 12],
    [1500, 75]
  ])(
    'begins with no more than a line carries before a session with a TTL of %d ms is taken for dead, at %d kbit/s',
    (ttl, kbit) => {
      const window = new BulkWindow(ttl)
      let first = 0
      while (window.hasRoom(PAGE_FRAME)) {
        window.left(PAGE_FRAME, 0)
        first += PAGE_FRAME
      }
      expect(first / (kbit * KBIT)).toBeLessThan(silenceLimit(ttl))
    }
  )

  it('fills a long line: its round trip is no queue', () => {
    const { arrived } = stream({ bytesPerMs: 1250, roundTripMs: 600 }, new BulkWindow(10_000), PAGE_FRAME, 60_000)
    expect(arrived).toBeGreaterThan(0.7 * 1250 * 60_000)
  })

  it('shrinks when the line becomes thin, and opens again', () => {
    const window = new BulkWindow(10_000)
    const fast = { bytesPerMs: 1250, roundTripMs: 20 }
    stream(fast, window, PAGE_FRAME, 5000)
    expect(window.bytes).toBeGreaterThan(200_000)
    // What the fast line took is acknowledged first.
    const late = new BulkWindow(10_000)
    Object.assign(late, { window: window.bytes })
    stream({ bytesPerMs: 32, roundTripMs: 20 }, late, PAGE_FRAME, 60_000)
    expect(late.bytes).toBeLessThan(32 * (bulkDelays(10_000).queueMs + 1000))
    const thin = late.bytes
    const again = new BulkWindow(10_000)
    Object.assign(again, { window: thin })
    stream(fast, again, PAGE_FRAME, 5000)
    expect(again.bytes).toBeGreaterThan(200_000)
  })

  it('lets one frame go, however large, when nothing is on its way', () => {
    const window = new BulkWindow(500)
    expect(window.hasRoom(70_000)).toBe(true)
    window.left(70_000, 0)
    expect(window.hasRoom(1)).toBe(false)
    window.acknowledged(70_000, 5000)
    expect(window.bytes).toBeLessThan(32 * 1024)
    expect(window.hasRoom(70_000)).toBe(true)
  })

  it('is not shrunk twice for one queue', () => {
    const window = new BulkWindow(10_000)
    for (let i = 0; i < 7; i++) window.left(PAGE_FRAME, 0)
    window.acknowledged(PAGE_FRAME, 10)
    window.acknowledged(6 * PAGE_FRAME, 3000)
    const { bytes } = window
    window.acknowledged(7 * PAGE_FRAME, 3500)
    expect(window.bytes).toBe(bytes)
  })

  it('refuses acknowledgements of what was never sent, and those that go back', () => {
    const window = new BulkWindow(10_000)
    window.left(100, 0)
    expect(window.acknowledged(101, 1)).toBe(false)
    expect(window.acknowledged(100, 1)).toBe(true)
    expect(window.acknowledged(99, 1)).toBe(false)
  })
})

describe('receipts', () => {
  function receipts() {
    const told: number[] = []
    const timers: (() => void)[] = []
    const schedule = (_ms: number, callback: () => void) => {
      timers.push(callback)
      return () => void timers.splice(timers.indexOf(callback), 1)
    }
    return { told, timers, receipts: new BulkReceipts({ schedule }, (bytes) => told.push(bytes)) }
  }

  it('tell of little a moment later, and of much at once', () => {
    const { told, timers, receipts: counter } = receipts()
    counter.arrived(96)
    counter.arrived(96)
    expect(told).toEqual([])
    expect(timers).toHaveLength(1)
    timers[0]!()
    expect(told).toEqual([200])
    counter.arrived(20_000)
    expect(told).toEqual([200, 20_204])
    expect(timers).toHaveLength(0)
  })

  it('are few where much comes: each costs both sides a message', () => {
    const { told, timers, receipts: counter } = receipts()
    const mebibytes = 64
    for (let i = 0; i < mebibytes * 256; i++) counter.arrived(PAGE_FRAME - 4)
    expect(told.length / mebibytes).toBeLessThan(20)
    counter.stop()
    expect(timers).toEqual([])
  })

  it('leave no timer behind', () => {
    const { timers, receipts: counter } = receipts()
    counter.arrived(10)
    counter.stop()
    expect(timers).toEqual([])
  })
})
