/**
 * Frames: messages on a byte stream.
 *
 * | bytes | what |
 * |---|---|
 * | 4 | length of the rest, little-endian |
 * | 1–8 | group id (LEB128): the Raft group that the message is for |
 * | 1–8 | trace id (LEB128): follows a request through the cluster; 0 without tracing |
 * | rest | the message: a tag byte and its fields |
 *
 * libp2p's streams carry bytes, so the receiver cuts the frames out of chunks of any size.
 */
import { CodecError, Reader, Writer, type Codec } from './codec.js'

export interface Frame<M> {
  readonly group: number
  readonly trace: number
  readonly message: M
}

/** The length field is corrupt or exceeds the limit of the stream. The rest of the stream cannot be decoded. */
export class FrameTooLargeError extends Error {
  override readonly name = 'FrameTooLargeError'
  readonly code = 'ERR_FRAME_TOO_LARGE'
  constructor(
    readonly frameBytes: number,
    readonly maxFrameBytes: number
  ) {
    super(`a frame has ${frameBytes} bytes; the limit is ${maxFrameBytes}`)
  }
}

/** The Raft group that carries the configuration of the cluster. There is no other group yet. */
export const ROOT_GROUP = 0

const LENGTH_BYTES = 4

/** Encodes one frame with its length, ready for `FrameStream.send`. The caller owns the result. */
export function encodeFrame<M>(codec: Codec<M>, message: M, group = 0, trace = 0, capacity?: number): Uint8Array {
  const writer = new Writer(capacity)
  writer.u32(0)
  writer.uint(group)
  writer.uint(trace)
  codec.write(writer, message)
  writer.patchU32(0, writer.size - LENGTH_BYTES)
  return writer.finish()
}

/**
 * Decodes a frame without its length, as {@link FrameCutter} returns it. Byte arrays in the message are views of
 * `frame`. Throws CodecError for malformed bytes.
 */
export function decodeFrame<M>(codec: Codec<M>, frame: Uint8Array): Frame<M> {
  const reader = new Reader(frame)
  const group = reader.uint()
  const trace = reader.uint()
  const message = codec.read(reader)
  if (reader.left > 0) throw new CodecError(`${reader.left} bytes after the message`)
  return { group, trace, message }
}

/**
 * Cuts frames out of a stream of chunks.
 *
 * It buffers at most one frame of `maxFrameBytes`. For a greater length, `push` throws FrameTooLargeError before it
 * allocates anything; the cutter is then unusable.
 */
export class FrameCutter {
  private pending: Uint8Array[] = []
  private pendingBytes = 0

  constructor(private readonly maxFrameBytes: number) {}

  /**
   * Takes the next chunk and returns the frames that it completes, without their lengths. The frames may be views of
   * the chunk, so its bytes must not change afterwards.
   */
  push(chunk: Uint8Array): Uint8Array[] {
    this.pending.push(chunk)
    this.pendingBytes += chunk.length
    if (this.pendingBytes < LENGTH_BYTES) return []
    if (this.pending.length > 1 && this.pendingBytes < LENGTH_BYTES + this.nextLength()) return []

    const bytes = this.join()
    const frames: Uint8Array[] = []
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    let offset = 0
    while (bytes.length - offset >= LENGTH_BYTES) {
      const length = this.checked(view.getUint32(offset, true))
      const end = offset + LENGTH_BYTES + length
      if (end > bytes.length) break
      frames.push(bytes.subarray(offset + LENGTH_BYTES, end))
      offset = end
    }
    if (offset < bytes.length) this.pending = [bytes.subarray(offset)]
    else this.pending = []
    this.pendingBytes = bytes.length - offset
    return frames
  }

  /** The buffered bytes of a frame whose end has not arrived. */
  get bufferedBytes(): number {
    return this.pendingBytes
  }

  private nextLength(): number {
    const head = this.pending[0]!
    if (head.length < LENGTH_BYTES) this.pending = [this.join()]
    const first = this.pending[0]!
    return this.checked(new DataView(first.buffer, first.byteOffset, first.byteLength).getUint32(0, true))
  }

  private checked(length: number): number {
    if (length > this.maxFrameBytes) throw new FrameTooLargeError(length, this.maxFrameBytes)
    return length
  }

  private join(): Uint8Array {
    if (this.pending.length === 1) return this.pending[0]!
    const joined = new Uint8Array(this.pendingBytes)
    let offset = 0
    for (const chunk of this.pending) {
      joined.set(chunk, offset)
      offset += chunk.length
    }
    return joined
  }
}
