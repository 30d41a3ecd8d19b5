import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  CodecError,
  FrameCutter,
  FrameTooLargeError,
  MAX_BULK_FRAME_BYTES,
  MAX_RAFT_FRAME_BYTES,
  bytes,
  clientMessage,
  decode,
  decodeFrame,
  encode,
  encodeFrame,
  leaderMessage,
  raftMessage,
  type Codec
} from '../src/index.js'
import { clientMessages, leaderMessages, raftMessages, uint } from './arbitrary.js'

const wires: [name: string, codec: Codec<unknown>, messages: fc.Arbitrary<unknown>][] = [
  ['client messages', clientMessage, clientMessages],
  ['leader messages', leaderMessage, leaderMessages],
  ['Raft messages', raftMessage, raftMessages]
]

/** Checks that decoding gives a value that encodes to the same bytes, or throws a CodecError. */
function decodesOrRefuses(codec: Codec<unknown>, input: Uint8Array): void {
  let value: unknown
  try {
    value = decode(codec, input)
  } catch (error) {
    expect(error).toBeInstanceOf(CodecError)
    return
  }
  expect(encode(codec, value)).toEqual(input)
}

describe.each(wires)('%s', (_name, codec, messages) => {
  it('messages decode to the value that was encoded', () => {
    fc.assert(
      fc.property(messages, (message) => {
        expect(decode(codec, encode(codec, message))).toEqual(message)
      }),
      { numRuns: 500 }
    )
  })

  it('messages survive a frame, with its group and its trace', () => {
    fc.assert(
      fc.property(messages, uint, uint, (message, group, trace) => {
        const frame = encodeFrame(codec, message, group, trace)
        expect(decodeFrame(codec, frame.subarray(4))).toEqual({ group, trace, message })
      })
    )
  })

  it('messages are refused when bytes are missing or left over', () => {
    fc.assert(
      fc.property(messages, fc.nat(), (message, at) => {
        const encoded = encode(codec, message)
        expect(() => decode(codec, encoded.subarray(0, at % encoded.length))).toThrow(CodecError)
        expect(() => decode(codec, new Uint8Array([...encoded, 0]))).toThrow(CodecError)
      })
    )
  })

  it('messages decode or throw a CodecError for random bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (input) => decodesOrRefuses(codec, input)),
      { numRuns: 2000 }
    )
  })

  it('messages decode or throw a CodecError when some of their bytes are changed', () => {
    const changes = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 3 })
    fc.assert(
      fc.property(messages, changes, (message, list) => {
        const encoded = encode(codec, message).slice()
        for (const [at, byte] of list) encoded[at % encoded.length] = byte
        decodesOrRefuses(codec, encoded)
      }),
      { numRuns: 1000 }
    )
  })
})

describe('frames in a stream', () => {
  const framesOf = (messages: unknown[]) =>
    messages.map((message) => encodeFrame(raftMessage as Codec<unknown>, message, 1))

  it('frames in a stream are cut out of chunks of any size', () => {
    fc.assert(
      fc.property(
        fc.array(raftMessages, { maxLength: 12 }),
        fc.array(fc.integer({ min: 1, max: 97 })),
        (messages, sizes) => {
          const stream = join(framesOf(messages))
          const cutter = new FrameCutter(MAX_RAFT_FRAME_BYTES)
          const seen: unknown[] = []
          let offset = 0
          for (let i = 0; offset < stream.length; i++) {
            const size = sizes.length > 0 ? sizes[i % sizes.length]! : stream.length
            for (const frame of cutter.push(stream.subarray(offset, offset + size))) {
              seen.push(decodeFrame(raftMessage, frame).message)
            }
            offset += size
          }
          expect(seen).toEqual(messages)
          expect(cutter.bufferedBytes).toBe(0)
        }
      )
    )
  })

  it('frames in a stream are refused by their length, before any byte of them is buffered', () => {
    const cutter = new FrameCutter(MAX_BULK_FRAME_BYTES)
    const header = new Uint8Array(4)
    new DataView(header.buffer).setUint32(0, MAX_BULK_FRAME_BYTES + 1, true)
    expect(() => cutter.push(header)).toThrow(FrameTooLargeError)
  })

  it('frames in a stream are refused by their length even if it arrives in pieces', () => {
    const cutter = new FrameCutter(100)
    cutter.push(new Uint8Array([0xff]))
    cutter.push(new Uint8Array([0xff, 0xff]))
    expect(() => cutter.push(new Uint8Array([0xff]))).toThrow(FrameTooLargeError)
  })

  it('frames in a stream never make the cutter buffer more than one frame, even random bytes', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ minLength: 1, maxLength: 64 })), (chunks) => {
        const cutter = new FrameCutter(256)
        try {
          for (const chunk of chunks) {
            cutter.push(chunk)
            expect(cutter.bufferedBytes).toBeLessThan(4 + 256)
          }
        } catch (error) {
          expect(error).toBeInstanceOf(FrameTooLargeError)
        }
      })
    )
  })
})

describe('decoding', () => {
  it('decoding does not allocate for a count that the bytes cannot hold', () => {
    // An append that claims 4096 entries and ends after the count.
    const claim = new Uint8Array([12, 1, 0, 0, 0, 0x80, 0x20])
    expect(() => decode(raftMessage, claim)).toThrow(/items in 0 bytes/)
  })

  it('decoding makes no Buffers of a Buffer, because the slice of a Buffer is not a copy', () => {
    const frame = Buffer.from(encode(bytes(10), Uint8Array.of(1, 2)))
    const decoded = decode(bytes(10), frame)
    const copy = decoded.slice()
    frame.fill(255)
    expect([decoded.constructor, copy]).toEqual([Uint8Array, Uint8Array.of(1, 2)])
  })

  it('decoding refuses an integer that has a shorter encoding', () => {
    expect(() => decode(clientMessage, new Uint8Array([3, 0x80, 0x00]))).toThrow(/overlong/)
  })

  it('decoding refuses an integer above 2^53 - 1', () => {
    const input = new Uint8Array([3, ...Array.from({ length: 8 }, () => 0xff), 1])
    expect(() => decode(clientMessage, input)).toThrow(/2\^53/)
  })
})

function join(parts: Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let offset = 0
  for (const part of parts) {
    joined.set(part, offset)
    offset += part.length
  }
  return joined
}
