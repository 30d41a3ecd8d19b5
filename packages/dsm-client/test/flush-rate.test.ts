/** The core and the bulk sender on a fast line with slow commits, in virtual time: docs/coherence.md, "Thin lines". */
import { clientMessage, encodeFrame, type ClientMessageOf, type FrameStream } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { BulkSender } from '../src/session/bulk-sender.js'
import { CoreHarness, PAGE } from './support/core.js'

const CREDIT = 1024 * 1024
const PAGES = 2048
const TTL_MS = 10_000
/** The line delivers frames one by one, so that commits also end one by one. */
const LINE_BYTES_PER_MS = 200_000
const STEP_MS = 0.125

function dirty(count: number): CoreHarness {
  const h = new CoreHarness({ cacheBytes: 2 * count * PAGE }).connect({ creditBytes: CREDIT })
  for (let page = 0; page < count; page++) h.have(page, 'write', { write: 1 })
  return h
}

type Writeback = ClientMessageOf<'writeback'>

function bytesOf({ pages }: Writeback): number {
  return pages.length * PAGE
}

/**
 * Flushes all pages through the bulk sender. Returns the duration, and the most bytes that were unacknowledged at once.
 */
function flush(h: CoreHarness, commitMs: number): { ms: number; mostBytes: number } {
  const clock = { at: 0, now: () => clock.at }
  let left = 0
  const stream = { send: (frame: Uint8Array) => ((left += frame.length), true) } as unknown as FrameStream
  const sender = new BulkSender(stream, clock, TTL_MS)
  const sent: { at: number; end: number; writeback: Writeback; isCommitting: boolean }[] = []
  let [queued, unacknowledged, mostBytes] = [0, 0, 0]
  const hand = (): void => {
    while (!h.nothingSent) {
      const writeback = h.take('writeback')
      const frame = encodeFrame(clientMessage, writeback, 0, 0, 256)
      queued += frame.length
      unacknowledged += bytesOf(writeback)
      sent.push({ at: Infinity, end: queued, writeback, isCommitting: false })
      sender.send(frame)
    }
    mostBytes = Math.max(mostBytes, unacknowledged)
  }
  const limit = (): void => {
    h.core.limitBulk(sender.windowBytes, sender.unreceivedBytes)
    h.drain()
    hand()
  }
  limit()
  const flushed = h.flush(0, Number.MAX_SAFE_INTEGER)
  hand()
  for (let told = 0; flushed.done < flushed.count && clock.at < 60_000; clock.at += STEP_MS) {
    const arrived = Math.min(left, told + LINE_BYTES_PER_MS * STEP_MS)
    for (const each of sent) {
      if (each.at === Infinity && each.end <= arrived) each.at = clock.at + commitMs
    }
    if (arrived > told) {
      sender.received((told = arrived))
      limit()
    }
    while (sent[0] !== undefined && sent[0].at <= clock.at) {
      const { writeback } = sent.shift()!
      unacknowledged -= bytesOf(writeback)
      h.acknowledge(writeback)
      hand()
    }
  }
  expect(flushed.done).toBe(flushed.count)
  return { ms: clock.at, mostBytes }
}

describe('a flush on a fast line', () => {
  it.each([20, 50])("a flush on a fast line uses the leader's whole credit while commits take %d ms", (commitMs) => {
    const { ms, mostBytes } = flush(dirty(PAGES), commitMs)
    expect(mostBytes).toBeGreaterThan(0.9 * CREDIT)
    const rounds = (PAGES * PAGE) / CREDIT
    expect(ms).toBeLessThan(1.25 * rounds * commitMs + 20)
  })

  it('a flush on a fast line sends more when the leader has received the earlier bytes, before it commits them', () => {
    const h = dirty(64)
    h.core.limitBulk(8 * PAGE, 0)
    h.flush(0, Number.MAX_SAFE_INTEGER)
    const pages = (): number =>
      h.sent.splice(0).reduce((sum, { message }) => sum + (message as Writeback).pages.length, 0)
    expect(pages()).toBe(16)
    h.core.limitBulk(8 * PAGE, 0)
    h.drain()
    expect(pages()).toBe(16)
  })

  it('a flush on a fast line sends nothing more until the leader has received the earlier bytes', () => {
    const h = dirty(64)
    h.core.limitBulk(8 * PAGE, 0)
    h.flush(0, Number.MAX_SAFE_INTEGER)
    const count = h.sent.length
    h.core.limitBulk(8 * PAGE, 16 * PAGE)
    h.drain()
    expect(h.sent).toHaveLength(count)
  })

  it('a flush on a fast line sends one page at a time if the window is smaller than a page, before earlier pages are committed', () => {
    const h = dirty(2)
    const page = (index: number): void => void h.flush(index, index)
    h.core.limitBulk(PAGE / 4, 0)
    page(0)
    expect(h.take('writeback').pages).toMatchObject([{ page: 0 }])
    page(1)
    expect(h.nothingSent).toBe(true)
    // The leader has received page 0. It may need page 1 before it can commit page 0.
    h.core.limitBulk(PAGE / 4, 0)
    h.drain()
    expect(h.take('writeback').pages).toMatchObject([{ page: 1 }])
  })
})
