import { describe, expect, it } from 'vitest'
import {
  MAX_BULK_FRAME_BYTES,
  MAX_CONTROL_FRAME_BYTES,
  MAX_RUN_PAGES,
  MAX_WRITEBACK_PAGES,
  clientMessage,
  diffPage,
  encodeFrame,
  joinClientRuns,
  joinLeaderRuns,
  leaderMessage,
  type ClientMessage,
  type ClientMessageOf,
  type LeaderMessage,
  type LeaderMessageOf
} from '../src/index.js'

const PAGE = 4096
/** The greatest first page or request of a run, of a client and of the leader. */
const BIGGEST = Number.MAX_SAFE_INTEGER - 2 * MAX_RUN_PAGES
const BIGGEST_ANSWER = Number.MAX_SAFE_INTEGER - MAX_RUN_PAGES

function fault(page: number, rest: Partial<ClientMessageOf<'fault'>> = {}): ClientMessage {
  return { type: 'fault', req: 100 + page, file: 1, page, count: 1, access: 'read', have: 0, ...rest }
}

function grant(
  page: number,
  rest: Partial<LeaderMessageOf<'grant'>> = {},
  bytes = new Uint8Array(PAGE)
): LeaderMessage {
  const facts = { term: 3, req: 100 + page, file: 1, page, access: 'read', owner: false } as const
  return { type: 'grant', ...facts, epoch: 0, seq: 0, discard: 0, pages: [{ version: page, bytes }], ...rest }
}

function invalidate(page: number, after = 0): LeaderMessage {
  return { type: 'invalidate', term: 3, op: 50 + page, file: 1, page, count: 1, after }
}

function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i)
}

describe('runs', () => {
  it('faults on neighboring pages with requests in a row leave as one', () => {
    expect(joinClientRuns([fault(4), fault(5), fault(6)], Infinity)).toEqual([fault(4, { count: 3 })])
    expect(joinClientRuns([fault(4, { count: 2 }), fault(6, { count: 3 })], Infinity)).toEqual([fault(4, { count: 5 })])
  })

  it.each([
    ['a gap', fault(6, { req: 105 })],
    ['the page before', fault(3, { req: 105 })],
    ['another file', fault(5, { file: 2 })],
    ['a request out of order', fault(5, { req: 106 })],
    ['another access', fault(5, { access: 'write' })],
    ['another version', fault(5, { have: 9 })]
  ])('a run of faults ends before %s', (_, next) => {
    expect(joinClientRuns([fault(4), next], Infinity)).toEqual([fault(4), next])
  })

  it('messages keep their order: a run ends at a message of another type', () => {
    const ack: ClientMessage = { type: 'discardAck', op: 1, file: 1 }
    expect(joinClientRuns([fault(4), ack, fault(5)], Infinity)).toEqual([fault(4), ack, fault(5)])
  })

  it('a run has a limited number of pages', () => {
    const joined = joinClientRuns(
      upTo(2 * MAX_RUN_PAGES + 1).map((page) => fault(page)),
      Infinity
    )
    expect(joined.map((run) => (run as ClientMessageOf<'fault'>).count)).toEqual([MAX_RUN_PAGES, MAX_RUN_PAGES, 1])
  })

  it('answers to orders join if the orders are in a row', () => {
    const ack = (page: number, op: number): ClientMessage => ({ type: 'invalidateAck', op, file: 1, page, count: 1 })
    expect(joinClientRuns([ack(1, 7), ack(2, 8), ack(3, 10)], Infinity)).toEqual([
      { ...ack(1, 7), count: 2 },
      ack(3, 10)
    ])
    const held = (page: number, held: boolean): ClientMessage => {
      return { type: 'ownerAck', op: page, file: 1, page, count: 1, held }
    }
    expect(joinClientRuns([held(1, true), held(2, true), held(3, false)], Infinity)).toEqual([
      { ...held(1, true), count: 2 },
      held(3, false)
    ])
  })

  it('bytes that orders ask for join up to 64 pages', () => {
    const bytes = new Uint8Array(PAGE)
    const messages = upTo(70).map((page): ClientMessage => {
      return { type: 'ownerAckDirty', op: 30 + page, pages: [{ file: 1, page, epoch: 2, seq: 1, bytes }] }
    })
    const joined = joinClientRuns(messages, Infinity) as ClientMessageOf<'ownerAckDirty'>[]
    expect(joined.map(({ op, pages }) => [op, pages.length])).toEqual([
      [30, 64],
      [94, 6]
    ])
  })

  it('grants of neighboring pages leave as one, each page with its version and its bytes', () => {
    const pages = [1, 2, 3].map((page) => ({ version: page, bytes: new Uint8Array(PAGE) }))
    expect(joinLeaderRuns([grant(1), grant(2), grant(3)], Infinity)).toEqual([grant(1, { pages })])
  })

  it.each([
    ['another access', { access: 'write' }],
    ['another owner', { owner: true }],
    ['another epoch', { epoch: 1 }],
    ['another writeback', { seq: 1 }],
    ['another discard', { discard: 1 }],
    ['a request out of order', { req: 1 }]
  ] as const)('a run of grants ends before %s', (_, rest) => {
    expect(joinLeaderRuns([grant(1), grant(2, rest)], Infinity)).toEqual([grant(1), grant(2, rest)])
  })

  it('grants join up to a frame, or up to the limit of a thin line; a single page always leaves', () => {
    const lengths = (maxBytes: number) =>
      joinLeaderRuns(
        upTo(18).map((page) => grant(page)),
        maxBytes
      ).map((run) => (run as LeaderMessageOf<'grant'>).pages.length)
    expect(lengths(Infinity)).toEqual([16, 2])
    expect(lengths(4 * PAGE)).toEqual([4, 4, 4, 4, 2])
    expect(lengths(100)).toEqual(upTo(18).map(() => 1))
  })

  it('orders join if what they follow is in a row, or nothing', () => {
    expect(joinLeaderRuns([invalidate(1), invalidate(2)], Infinity)).toEqual([{ ...invalidate(1), count: 2 }])
    expect(joinLeaderRuns([invalidate(1, 7), invalidate(2, 8)], Infinity)).toEqual([{ ...invalidate(1, 7), count: 2 }])
    const split = [invalidate(1, 7), invalidate(2, 0)]
    expect(joinLeaderRuns(split, Infinity)).toEqual(split)
    const others = [invalidate(1, 0), invalidate(2, 8)]
    expect(joinLeaderRuns(others, Infinity)).toEqual(others)
  })

  it('acknowledgments join if they answer orders, and not if they answer writebacks', () => {
    const outcome = { file: 1, page: 1, epoch: 1, seq: 1, version: 9, result: 'stored' as const }
    const ack = (req: number, count = 1): LeaderMessage => {
      return { type: 'writebackAck', term: 3, req, pages: Array.from({ length: count }, () => outcome) }
    }
    expect(joinLeaderRuns([ack(0), ack(0)], Infinity)).toEqual([ack(0, 2)])
    expect(joinLeaderRuns([ack(4), ack(4)], Infinity)).toEqual([ack(4), ack(4)])
  })

  it('the longest runs fit their frames', () => {
    const file = BIGGEST
    const fullGrants = upTo(16).map((i) => {
      const page = BIGGEST - 16 + i
      return grant(page, { req: page, file, epoch: BIGGEST, seq: BIGGEST, discard: BIGGEST })
    })
    const [bulk] = joinLeaderRuns(fullGrants, Infinity)
    expect(encodeFrame(leaderMessage, bulk!, 0).length).toBeLessThanOrEqual(MAX_BULK_FRAME_BYTES)
    const zeros = upTo(MAX_RUN_PAGES).map((i) => {
      const page = BIGGEST - MAX_RUN_PAGES + i
      return grant(page, { req: page, file, pages: [{ version: BIGGEST, bytes: new Uint8Array(0) }] })
    })
    const joined = joinLeaderRuns(zeros, Infinity)
    expect(joined).toHaveLength(1)
    expect(encodeFrame(leaderMessage, joined[0]!, 0).length).toBeLessThanOrEqual(MAX_CONTROL_FRAME_BYTES)
    const largest = { file, page: BIGGEST, epoch: BIGGEST, seq: BIGGEST }
    const dirty = upTo(MAX_WRITEBACK_PAGES).map(() => ({ ...largest, bytes: new Uint8Array(PAGE) }))
    for (const message of [
      { type: 'writeback', req: BIGGEST, pages: dirty },
      { type: 'ownerAckDirty', op: BIGGEST, pages: dirty }
    ] as const) {
      expect(encodeFrame(clientMessage, message, 0).length).toBeLessThanOrEqual(MAX_BULK_FRAME_BYTES)
    }
    for (const pageSize of [4096, 8192, 16_384, 32_768, 65_536]) {
      const before = new Uint8Array(pageSize)
      // As many ranges as a diff may have, over the whole page.
      const step = pageSize / 256
      const changed = Math.min(16, step / 2 - 4)
      const diff = diffPage(
        before,
        before.map((_, at) => (at % step < changed ? 1 : 0))
      )!
      expect(diff.ranges).toHaveLength(256)
      const answers = upTo(MAX_WRITEBACK_PAGES).map((i) => {
        const pages = [{ ...largest, page: i, ...diff }]
        return { type: 'ownerAckDirty' as const, op: BIGGEST - MAX_WRITEBACK_PAGES + i, pages }
      })
      for (const message of joinClientRuns(answers, Infinity)) {
        expect(encodeFrame(clientMessage, message, 0).length).toBeLessThanOrEqual(MAX_BULK_FRAME_BYTES)
      }
    }
    const outcomes = upTo(MAX_WRITEBACK_PAGES).map(() => ({ ...largest, version: BIGGEST, result: 'stored' as const }))
    const ack: LeaderMessage = { type: 'writebackAck', term: BIGGEST, req: BIGGEST, pages: outcomes }
    expect(encodeFrame(leaderMessage, ack, 0).length).toBeLessThanOrEqual(MAX_CONTROL_FRAME_BYTES)
  })
})

describe('the codec of runs', () => {
  it.each([
    ['no page', { count: 0 }],
    ['too many pages', { count: MAX_RUN_PAGES + 1 }],
    ['a page that is no safe integer', { page: BIGGEST + 1 }],
    ['a request that is no safe integer', { req: BIGGEST + 1 }]
  ])('the codec refuses a run with %s', (_, rest) => {
    expect(() => encodeFrame(clientMessage, fault(1, rest), 0)).toThrow('is not between')
  })

  it('the codec accepts an answer that begins with any page of the greatest run, and an order that follows it', () => {
    const fits = { req: BIGGEST, page: BIGGEST, count: MAX_RUN_PAGES }
    expect(() => encodeFrame(clientMessage, fault(1, fits), 0)).not.toThrow()
    const last = BIGGEST + MAX_RUN_PAGES - 1
    expect(() => encodeFrame(leaderMessage, grant(last, { req: last }), 0)).not.toThrow()
    expect(() => encodeFrame(leaderMessage, { ...invalidate(last, last), op: last } as LeaderMessage, 0)).not.toThrow()
    expect(() => encodeFrame(leaderMessage, grant(BIGGEST_ANSWER + 1), 0)).toThrow('is not between')
  })
})
