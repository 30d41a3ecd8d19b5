/** Copies bytes between local files and stored ones, several chunks at a time, and computes their digest. */
import { crc32c } from '@node-rs/crc32'
import type { DsmFile } from '@quire/dsm-client'
import { MAX_CHECKSUM_BYTES, QuireError } from '@quire/protocol'
import { createHash } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import type { Progress } from './output.js'
import { cannotRead } from './standard-input.js'

/** Bytes per read or write, and the number of concurrent calls. */
const CHUNK_BYTES = 128 * 1024
const CHUNKS_AT_ONCE = 16
/** Bytes with a checksum of their own: several chunks, and what the leader computes for one request. */
const PART_BYTES = MAX_CHECKSUM_BYTES
const PARTS_AT_ONCE = 4

/** A copy differs from its source. */
export class DigestMismatchError extends QuireError {
  override readonly name = 'DigestMismatchError'
  readonly code = 'ERR_DIGEST'
  constructor(
    readonly where: string,
    readonly expected: string,
    readonly found: string
  ) {
    super(`${where}: its SHA-256 is ${found}, not ${expected}`, [where, expected, found])
  }
}

/** Stored bytes differ from those that were sent. */
export class ChecksumMismatchError extends QuireError {
  override readonly name = 'ChecksumMismatchError'
  readonly code = 'ERR_CHECKSUM'
  constructor(
    readonly begin: number,
    readonly end: number,
    readonly expected: number,
    readonly found: number
  ) {
    super(`bytes ${begin} to ${end} as stored have the CRC-32C ${hex(found)}, not ${hex(expected)}`, [
      begin,
      end,
      expected,
      found
    ])
  }
}

function hex(checksum: number): string {
  return checksum.toString(16).padStart(8, '0')
}

/** Bytes to store: all but the last chunk have the same length. */
export interface Source {
  /** Undefined for a stream. */
  readonly size: number | undefined
  readonly chunks: AsyncIterable<Uint8Array>
  close(): Promise<void>
}

export interface Sent {
  readonly size: number
  readonly sha256: string
  /** The CRC-32C of each part of `PART_BYTES`. The last part may be shorter. */
  readonly checksums: readonly number[]
}

/** Writes all of `source` to `file`. Resolves when the bytes are durable. */
export async function upload(source: Source, file: DsmFile, progress: Progress): Promise<Sent> {
  const digest = createHash('sha256')
  const writes = new Set<Promise<void>>()
  const checksums: number[] = []
  let failure: unknown
  let size = 0
  for await (const chunk of source.chunks) {
    digest.update(chunk)
    // No chunk belongs to two parts.
    const part = Math.floor(size / PART_BYTES)
    checksums[part] = crc32c(chunk, checksums[part] ?? 0)
    const write = file.write(size, chunk).then(
      () => {
        writes.delete(write)
        progress.add(chunk.length)
      },
      (error: unknown) => {
        writes.delete(write)
        failure ??= error ?? new Error('writing failed')
      }
    )
    writes.add(write)
    size += chunk.length
    if (writes.size >= CHUNKS_AT_ONCE) await Promise.race(writes)
    if (failure !== undefined) break
  }
  await Promise.all(writes)
  if (failure !== undefined) throw failure as Error
  await file.sync()
  return { size, sha256: digest.digest('hex'), checksums }
}

/** Compares the checksums of a flushed file as the cluster has stored it. Throws ChecksumMismatchError. */
export async function verify(file: DsmFile, { size, checksums }: Sent, progress: Progress): Promise<void> {
  let next = 0
  const verifyParts = async (): Promise<void> => {
    while (next < checksums.length) {
      const part = next++
      const begin = part * PART_BYTES
      const length = Math.min(PART_BYTES, size - begin)
      const found = await file.checksum(begin, length)
      if (found !== checksums[part]) {
        next = checksums.length
        throw new ChecksumMismatchError(begin, begin + length, checksums[part]!, found)
      }
      progress.add(length)
    }
  }
  await Promise.all(Array.from({ length: PARTS_AT_ONCE }, verifyParts))
}

/** Reads a file of known size, which must not become shorter meanwhile. */
export function fileSource(name: string, handle: FileHandle, size: number): Source {
  async function* chunks(): AsyncGenerator<Uint8Array> {
    for (let offset = 0; offset < size; offset += CHUNK_BYTES)
      yield await readChunk(name, handle, offset, Math.min(CHUNK_BYTES, size - offset))
  }
  return { size, chunks: chunks(), close: () => handle.close() }
}

/** Reads a stream to its end. A stream that fails, or closes before its end, fails the upload. */
export function streamSource(name: string, stream: Readable): Source {
  async function* pieces(): AsyncGenerator<Uint8Array> {
    try {
      yield* stream as AsyncIterable<Uint8Array>
    } catch (error) {
      throw cannotRead(name, error)
    }
  }
  async function* chunks(): AsyncGenerator<Uint8Array> {
    let chunk = new Uint8Array(CHUNK_BYTES)
    let filled = 0
    for await (const piece of pieces()) {
      for (let taken = 0; taken < piece.length;) {
        const part = piece.subarray(taken, taken + CHUNK_BYTES - filled)
        chunk.set(part, filled)
        taken += part.length
        filled += part.length
        if (filled < CHUNK_BYTES) continue
        yield chunk
        chunk = new Uint8Array(CHUNK_BYTES)
        filled = 0
      }
    }
    if (filled > 0) yield chunk.subarray(0, filled)
  }
  const close = (): Promise<void> => Promise.resolve(void stream.destroy())
  return { size: undefined, chunks: chunks(), close }
}

async function readChunk(name: string, source: FileHandle, offset: number, length: number): Promise<Uint8Array> {
  const chunk = new Uint8Array(length)
  for (let done = 0; done < length;) {
    const { bytesRead } = await source.read(chunk, done, length - done, offset + done).catch((error: unknown) => {
      throw cannotRead(name, error)
    })
    if (bytesRead === 0) throw new Error(`${name}: it became shorter while it was read`)
    done += bytesRead
  }
  return chunk
}

/** Reads `size` bytes, several chunks ahead, and hands them to `take` in order. Resolves with their SHA-256. */
export async function download(
  file: DsmFile,
  size: number,
  progress: Progress,
  take: (chunk: Uint8Array) => Promise<void>
): Promise<string> {
  const digest = createHash('sha256')
  const ahead: Promise<Uint8Array>[] = []
  let next = 0
  const fill = (): void => {
    while (ahead.length < CHUNKS_AT_ONCE && next < size) {
      const read = file.read(next, Math.min(CHUNK_BYTES, size - next))
      // The loop below awaits the read and meets its failure.
      read.catch(() => {})
      ahead.push(read)
      next += CHUNK_BYTES
    }
  }
  for (let offset = 0; offset < size;) {
    fill()
    const chunk = await ahead.shift()!
    if (chunk.length < Math.min(CHUNK_BYTES, size - offset))
      throw new Error(`${file.path} became shorter while it was read`)
    digest.update(chunk)
    await take(chunk)
    progress.add(chunk.length)
    offset += chunk.length
  }
  return digest.digest('hex')
}

export async function digestOf(name: string, file: FileHandle, size: number): Promise<string> {
  const digest = createHash('sha256')
  for (let offset = 0; offset < size; offset += CHUNK_BYTES) {
    digest.update(await readChunk(name, file, offset, Math.min(CHUNK_BYTES, size - offset)))
  }
  return digest.digest('hex')
}
