/** Bytes between local files and stored ones, in chunks that are under way together, with a digest. */
import type { DsmFile } from '@quire/dsm-client'
import { QuireError } from '@quire/protocol'
import { createHash } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'
import type { Progress } from './output.js'

/** Bytes that are read or written in one call, and calls that are under way at once. */
const CHUNK_BYTES = 128 * 1024
const CHUNKS_AT_ONCE = 16

/** What arrived is not what was sent. */
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

/** Resolves with the digest when everything is durable. */
export async function upload(source: FileHandle, file: DsmFile, size: number, progress: Progress): Promise<string> {
  const digest = createHash('sha256')
  const writes = new Set<Promise<void>>()
  let failure: unknown
  for (let offset = 0; offset < size && failure === undefined;) {
    const chunk = await readChunk(source, offset, Math.min(CHUNK_BYTES, size - offset))
    digest.update(chunk)
    const write = file.write(offset, chunk).then(
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
    offset += chunk.length
    if (writes.size >= CHUNKS_AT_ONCE) await Promise.race(writes)
  }
  await Promise.all(writes)
  if (failure !== undefined) throw failure as Error
  await file.sync()
  return digest.digest('hex')
}

async function readChunk(source: FileHandle, offset: number, length: number): Promise<Uint8Array> {
  const chunk = new Uint8Array(length)
  for (let done = 0; done < length;) {
    const { bytesRead } = await source.read(chunk, done, length - done, offset + done)
    if (bytesRead === 0) throw new Error('the local file became shorter while it was read')
    done += bytesRead
  }
  return chunk
}

/** Reads `size` bytes with some calls ahead and hands them to `take` in order. Resolves with their digest. */
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
      // Its failure is met when its turn comes.
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

/**
 * The digest of what is stored, of a file that was flushed. Every page is dropped first and comes from the leader again, so no byte of it
 * is one that this client still had.
 */
export async function readBack(file: DsmFile, size: number, progress: Progress): Promise<string> {
  await file.addressSpace.evictMappingRange(0, 0)
  return download(file, size, progress, async () => {})
}

export async function digestOf(file: FileHandle, size: number): Promise<string> {
  const digest = createHash('sha256')
  for (let offset = 0; offset < size; offset += CHUNK_BYTES) {
    digest.update(await readChunk(file, offset, Math.min(CHUNK_BYTES, size - offset)))
  }
  return digest.digest('hex')
}
