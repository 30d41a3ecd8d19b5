import {
  CodecError,
  CorruptionError,
  decode,
  encode,
  MAX_APPEND_BYTES,
  MAX_APPEND_ENTRIES,
  MAX_ENTRY_BYTES,
  MAX_RAFT_FRAME_BYTES,
  encodeFrame,
  raftConfiguration,
  RAFT_ENTRY_OVERHEAD_BYTES,
  raftMessage,
  type RaftEntry,
  type RaftStreamMessage
} from '@quire/protocol'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { BatchEncoder, encodeBatch, inspectBatch, type BatchContent } from '../src/log/batch.js'
import { SECTOR_BYTES } from '../src/log/disk.js'
import {
  encodeSegmentHeader,
  parseSegmentName,
  readSegmentHeader,
  segmentHeaderBytes,
  segmentName,
  type SegmentHeader
} from '../src/log/segment.js'

const uint = fc.oneof(fc.nat(300), fc.maxSafeNat())
const nodeId = fc.string({ minLength: 1, maxLength: 40 })
const data = fc.uint8Array({ maxLength: 2000 })
const entry: fc.Arbitrary<RaftEntry> = fc.record({
  index: uint,
  term: uint,
  kind: fc.constantFrom('normal' as const, 'config' as const, 'noop' as const),
  data
})
const message: fc.Arbitrary<RaftStreamMessage> = fc.oneof(
  fc.record({ type: fc.constant('raftAdmitted' as const), incarnation: nodeId }),
  fc.record({
    type: fc.constant('raftRefused' as const),
    error: fc.record({ code: fc.constant('ERR_VERSION'), facts: fc.constant(['raft', 2, 1]) }),
    reason: fc.constant('version' as const),
    founding: fc.option(data, { nil: undefined })
  }),
  fc.record({
    type: fc.constant('requestVote' as const),
    term: uint,
    lastIndex: uint,
    lastTerm: uint,
    transfer: fc.boolean()
  }),
  fc.record({ type: fc.constant('voteReply' as const), term: uint, granted: fc.boolean() }),
  fc.record({
    type: fc.constant('append' as const),
    term: uint,
    prevIndex: uint,
    prevTerm: uint,
    commit: uint,
    entries: fc.array(entry, { maxLength: 10 })
  }),
  fc.record({
    type: fc.constant('appendReply' as const),
    term: uint,
    rejected: fc.boolean(),
    index: uint,
    hintIndex: uint,
    hintTerm: uint
  }),
  fc.record({ type: fc.constant('heartbeat' as const), term: uint, commit: uint, round: uint }),
  fc.record({
    type: fc.constant('heartbeatReply' as const),
    term: uint,
    round: uint,
    room: fc.constantFrom('enough' as const, 'little' as const, 'none' as const)
  })
)
const hardState = fc.record({ term: uint, vote: fc.option(nodeId, { nil: undefined }), commit: uint })
const base = fc.record({
  prevIndex: uint,
  prevTerm: uint,
  hardState,
  configuration: fc.option(entry, { nil: undefined }),
  before: fc.option(
    fc.record({
      prevIndex: uint,
      extents: fc.array(fc.record({ first: uint, last: uint, offset: uint, batch: uint, bytes: uint, size: uint })),
      terms: fc.array(fc.record({ index: uint, term: uint })),
      configurations: fc.array(entry, { maxLength: 3 })
    }),
    { nil: undefined }
  )
})
const segmentHeader: fc.Arbitrary<SegmentHeader> = fc.record({
  number: uint,
  firstBatch: uint,
  identity: fc.nat(0xffffffff),
  bytes: uint,
  base
})
const content: fc.Arbitrary<BatchContent> = fc.record({
  hardState: fc.option(hardState, { nil: undefined }),
  entries: fc.array(entry, { maxLength: 20 })
})

describe('Raft messages', () => {
  it('a Raft message is the same after encoding and decoding', () => {
    fc.assert(
      fc.property(message, (value) => {
        expect(decode(raftMessage, encode(raftMessage, value))).toEqual(value)
      })
    )
  })

  it('a Raft message with random, changed or missing bytes is rejected or decodes to another message, and never does worse', () => {
    const survive = (bytes: Uint8Array): void => {
      try {
        const value = decode(raftMessage, bytes)
        expect(encode(raftMessage, value)).toEqual(bytes)
      } catch (error) {
        expect(error).toBeInstanceOf(CodecError)
      }
    }
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), survive), { numRuns: 2000 })
    fc.assert(
      fc.property(message, fc.nat(), fc.nat(255), (value, at, byte) => {
        const bytes = encode(raftMessage, value)
        survive(bytes.subarray(0, at % bytes.length))
        const changed = bytes.slice()
        changed[at % bytes.length] = byte
        survive(changed)
      }),
      { numRuns: 1000 }
    )
  })

  it('decoding a Raft message does not reserve the memory that a length promises before the data is there', () => {
    // This is an append that promises 4096 entries, with nothing after it.
    const head = encode(raftMessage, { type: 'append', term: 1, prevIndex: 1, prevTerm: 1, commit: 1, entries: [] })
    const bytes = new Uint8Array([...head.subarray(0, -1), 0x80, 0x20])
    expect(() => decode(raftMessage, bytes)).toThrow(/4096 items in 0 bytes/)
  })

  it('a Raft message fits its frame if its entries fit the limits', () => {
    const largest = { index: Number.MAX_SAFE_INTEGER, term: Number.MAX_SAFE_INTEGER, kind: 'normal' as const }
    const frame = (entries: RaftEntry[]): number => {
      const big = Number.MAX_SAFE_INTEGER
      const append = { type: 'append' as const, term: big, prevIndex: big, prevTerm: big, commit: big, entries }
      return encodeFrame(raftMessage, append, big, big).length
    }
    expect(frame([{ ...largest, data: new Uint8Array(MAX_ENTRY_BYTES) }])).toBeLessThan(MAX_RAFT_FRAME_BYTES)
    const bytes = MAX_APPEND_BYTES / MAX_APPEND_ENTRIES - RAFT_ENTRY_OVERHEAD_BYTES
    const many = Array.from({ length: MAX_APPEND_ENTRIES }, () => ({ ...largest, data: new Uint8Array(bytes) }))
    expect(frame(many)).toBeLessThan(MAX_APPEND_BYTES + 100)
  })

  it('a Raft message carries a configuration of text ids', () => {
    const value = {
      voters: ['12D3KooWa', 'ü'],
      learners: [],
      outgoing: ['x'],
      learnersNext: ['x'],
      context: Uint8Array.of(0, 255)
    }
    expect(decode(raftConfiguration, encode(raftConfiguration, value))).toEqual(value)
  })
})

function entriesOf(count: number, bytes = 20): RaftEntry[] {
  const data = new Uint8Array(bytes).map((_, i) => i * 7 + 1)
  return Array.from({ length: count }, (_, i) => ({ index: i + 1, term: 1, kind: 'normal', data }))
}

describe('batches of the log', () => {
  it('a batch of the log is the same after encoding and decoding, and fills whole sectors', () => {
    fc.assert(
      fc.property(content, fc.nat(), (value, number) => {
        const bytes = encodeBatch(number, value)
        expect(bytes.length % SECTOR_BYTES).toBe(0)
        expect(inspectBatch(bytes, number)).toMatchObject({ kind: 'whole', content: value })
      })
    )
  })

  it('batches of all sizes from one buffer are the same as those from buffers of their own', () => {
    const encoder = new BatchEncoder()
    fc.assert(
      fc.property(content, fc.nat(), (value, number) => {
        expect(encoder.encode(number, value)).toEqual(encodeBatch(number, value))
      })
    )
  })

  it.each<[string, RaftEntry[]]>([
    ['an entry', entriesOf(1, 20_000)],
    ['many entries', entriesOf(700)],
    [
      'entries that fill their size limit',
      entriesOf(600).map((each) => ({ ...each, index: 2 ** 53 - 1, term: 2 ** 53 - 1 }))
    ]
  ])('a batch with %s beyond the buffer of its encoder is whole, and so is a small one after it', (_, entries) => {
    const encoder = new BatchEncoder()
    const small = { hardState: undefined, entries: entriesOf(2) }
    const large = { hardState: { term: 2 ** 53 - 1, vote: 'v'.repeat(128), commit: 2 ** 53 - 1 }, entries }
    for (const [number, value] of [small, large, small, large, small].entries()) {
      const bytes = encoder.encode(number, value)
      expect(bytes).toEqual(encodeBatch(number, value))
      expect(inspectBatch(bytes, number)).toMatchObject({ kind: 'whole', content: value })
    }
  })

  it('a batch of the log is torn if it lacks sectors, and damaged if a bit is flipped', () => {
    fc.assert(
      fc.property(content, fc.nat(), fc.nat(7), (value, at, bit) => {
        const bytes = encodeBatch(1, value)
        const sectors = bytes.length / SECTOR_BYTES
        const torn = bytes.slice()
        const sector = at % sectors
        torn.fill(0, sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES)
        const wasZero = torn.every((byte, i) => byte === bytes[i])
        expect(inspectBatch(torn, 1).kind).toBe(wasZero ? 'whole' : sector === 0 ? 'empty' : 'torn')
        const flipped = bytes.slice()
        flipped[at % flipped.length]! ^= 1 << bit
        // Bits after the payload have no meaning.
        const verdict = inspectBatch(flipped, 1)
        if (verdict.kind === 'whole') expect(verdict.content).toEqual(value)
        else expect(verdict.kind).toMatch(/damaged|torn/)
      }),
      { numRuns: 500 }
    )
  })

  it('random bytes are judged as a batch of the log without an exception', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: SECTOR_BYTES, maxLength: 2048 }), (bytes) => {
        expect(inspectBatch(bytes, 1).kind).toMatch(/empty|damaged/)
      })
    )
  })

  it('a batch of the log holds an entry of the largest size', () => {
    const value = {
      hardState: undefined,
      entries: [{ index: 9, term: 9, kind: 'normal' as const, data: new Uint8Array(MAX_ENTRY_BYTES) }]
    }
    expect(inspectBatch(encodeBatch(1, value), 1).kind).toBe('whole')
  })
})

describe('segment headers and names', () => {
  it('the header of a segment is the same after encoding and decoding, and fills whole sectors, as many for any size of the file', () => {
    fc.assert(
      fc.property(segmentHeader, fc.uint8Array({ maxLength: 600 }), (header, batches) => {
        const encoded = encodeSegmentHeader(header)
        const file = new Uint8Array([...encoded, ...batches])
        expect(readSegmentHeader('x', file)).toEqual(header)
        expect(segmentHeaderBytes('x', file.subarray(0, SECTOR_BYTES))).toBe(encoded.length)
        expect(encoded.length % SECTOR_BYTES).toBe(0)
        expect(encodeSegmentHeader({ ...header, bytes: 0 }).length).toBe(encoded.length)
      })
    )
  })

  it('the header of a segment with a flipped bit, or without its last sector, is damaged', () => {
    fc.assert(
      fc.property(segmentHeader, fc.nat(), fc.nat(7), (header, at, bit) => {
        const encoded = encodeSegmentHeader(header)
        const short = encoded.subarray(0, encoded.length - SECTOR_BYTES)
        expect(() => readSegmentHeader('x', short)).toThrow(CorruptionError)
        encoded[at % encoded.length]! ^= 1 << bit
        expect(() => readSegmentHeader('x', encoded)).toThrow(CorruptionError)
      })
    )
  })

  it('the name of a segment is the same after encoding and decoding', () => {
    expect(parseSegmentName(segmentName(12, 2 ** 52))).toEqual({ number: 12, firstIndex: 2 ** 52 })
    expect(parseSegmentName('spare.tmp')).toBeUndefined()
  })
})
