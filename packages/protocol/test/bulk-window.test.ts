/**
 * The window in virtual time. The sender always has more to send, the line has a rate and a round trip, and the
 * receiver acknowledges every frame.
 */
import { describe, expect, it } from 'vitest'
import { BulkReceipts, BulkWindow, bulkDelays, silenceLimit } from '../src/index.js'

const PAGE_FRAME = 4160

interface Line {
  readonly bytesPerMs: number
  /** There and back. */
  readonly roundTripMs: number
}

/** Sends frames for `forMs`. Returns how long each waits for the earlier ones, and how many bytes are acknowledged. */
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
  ])(
    'the bulk window keeps the wait on a line of %s below a fraction of the TTL, and uses the line',
    (_, bytesPerMs, ttl) => {
      const { queueMs, baseMs } = bulkDelays(ttl)
      const { waits, arrived } = stream({ bytesPerMs, roundTripMs: 20 }, new BulkWindow(ttl), PAGE_FRAME, 60_000)
      // The first receipts open the window too far. Later waits stay within the limits of the line and of the queue.
      const settled = waits.slice(Math.ceil((2 * 32 * 1024) / PAGE_FRAME))
      expect(Math.max(...settled)).toBeLessThanOrEqual(Math.max(queueMs + baseMs, PAGE_FRAME / bytesPerMs))
      expect(arrived).toBeGreaterThan(0.8 * bytesPerMs * 60_000)
    }
  )

  it('the bulk window grows from one page to twice the capacity of a fast line within 20 ms', () => {
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
    'the bulk window starts so small that a session with a TTL of %d ms survives its first frames at %d kbit/s',
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

  it('the bulk window fills a long line, because it does not take the round trip for a queue', () => {
    const { arrived } = stream({ bytesPerMs: 1250, roundTripMs: 600 }, new BulkWindow(10_000), PAGE_FRAME, 60_000)
    expect(arrived).toBeGreaterThan(0.7 * 1250 * 60_000)
  })

  it('the bulk window shrinks when the line becomes slow, and grows again', () => {
    const window = new BulkWindow(10_000)
    const fast = { bytesPerMs: 1250, roundTripMs: 20 }
    stream(fast, window, PAGE_FRAME, 5000)
    expect(window.bytes).toBeGreaterThan(200_000)
    // A window of that size on a slow line.
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

  it('the bulk window lets one frame leave, however large, when nothing is in flight', () => {
    const window = new BulkWindow(500)
    expect(window.hasRoom(70_000)).toBe(true)
    window.left(70_000, 0)
    expect(window.hasRoom(1)).toBe(false)
    window.acknowledged(70_000, 5000)
    expect(window.bytes).toBeLessThan(32 * 1024)
    expect(window.hasRoom(70_000)).toBe(true)
  })

  it('the bulk window shrinks only once for one queue', () => {
    const window = new BulkWindow(10_000)
    for (let i = 0; i < 7; i++) window.left(PAGE_FRAME, 0)
    window.acknowledged(PAGE_FRAME, 10)
    window.acknowledged(6 * PAGE_FRAME, 3000)
    const { bytes } = window
    window.acknowledged(7 * PAGE_FRAME, 3500)
    expect(window.bytes).toBe(bytes)
  })

  it('the bulk window refuses a receipt for more than was sent, and one that goes back', () => {
    const window = new BulkWindow(10_000)
    window.left(100, 0)
    expect(window.acknowledged(101, 1)).toBe(false)
    expect(window.acknowledged(100, 1)).toBe(true)
    expect(window.acknowledged(99, 1)).toBe(false)
  })
})

describe('the receipts of a bulk stream', () => {
  function receipts() {
    const sent: number[] = []
    const timers: (() => void)[] = []
    const schedule = (_ms: number, callback: () => void) => {
      timers.push(callback)
      return () => void timers.splice(timers.indexOf(callback), 1)
    }
    return { sent, timers, receipts: new BulkReceipts({ schedule }, (bytes) => sent.push(bytes)) }
  }

  it('the receipts of a bulk stream acknowledge many bytes at once, and few after a delay', () => {
    const { sent, timers, receipts: counter } = receipts()
    counter.arrived(96)
    counter.arrived(96)
    expect(sent).toEqual([])
    expect(timers).toHaveLength(1)
    timers[0]!()
    expect(sent).toEqual([200])
    counter.arrived(20_000)
    expect(sent).toEqual([200, 20_204])
    expect(timers).toHaveLength(0)
  })

  it('the receipts of a bulk stream are few for many bytes, because each costs both sides a message', () => {
    const { sent, timers, receipts: counter } = receipts()
    const mebibytes = 64
    for (let i = 0; i < mebibytes * 256; i++) counter.arrived(PAGE_FRAME - 4)
    expect(sent.length / mebibytes).toBeLessThan(20)
    counter.stop()
    expect(timers).toEqual([])
  })

  it('the receipts of a bulk stream leave no timer behind after stop', () => {
    const { timers, receipts: counter } = receipts()
    counter.arrived(10)
    counter.stop()
    expect(timers).toEqual([])
  })
})
