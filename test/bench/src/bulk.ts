/**
 * Bulk transfers: a file that is read in order, and dirty pages that are flushed, each in turn with the same bytes on a
 * bare stream.
 */
import { createDsmClient } from '@quire/dsm-client'
import type { Bare } from './bare.js'

export interface BulkAsk {
  readonly peers: readonly string[]
  readonly path: string
  readonly direction: 'read' | 'flush'
  /** Bytes of a whole range. */
  readonly bytes: number
  readonly rangeBytes: number
  readonly rounds: number
}
/** In MB/s, one figure per round. */
export interface BulkAnswer {
  readonly quire: readonly number[]
  readonly bare: readonly number[]
}

export async function bulk(bare: Bare, ask: BulkAsk): Promise<BulkAnswer> {
  const { direction, bytes, rounds } = ask
  if (direction === 'read') await flush(ask, 1)
  const quire: number[] = []
  const rival: number[] = []
  // The first round warms both up, and does not count.
  for (let round = 0; round <= rounds; round++) {
    const own = direction === 'read' ? await read(ask) : await flush(ask, round)
    const begin = performance.now()
    await (direction === 'read' ? bare.receive(bytes) : bare.send(bytes))
    const other = performance.now() - begin
    if (round === 0) continue
    quire.push(rate(bytes, own))
    rival.push(rate(bytes, other))
  }
  return { quire, bare: rival }
}

/**
 * Returns the milliseconds that the reads take, from the first on the client's connection. A new client has no page.
 */
async function read({ peers, path, bytes, rangeBytes }: BulkAsk): Promise<number> {
  const client = await createDsmClient({ peers, cacheBytes: 2 * bytes })
  const file = await client.open(path)
  const begin = performance.now()
  for (let at = 0; at < bytes; at += rangeBytes) await file.read(at, rangeBytes)
  const ms = performance.now() - begin
  await client.close()
  return ms
}

/** Returns the milliseconds that the flush takes, without the faults that make the pages dirty. */
async function flush({ peers, path, bytes, rangeBytes }: BulkAsk, fill: number): Promise<number> {
  const client = await createDsmClient({ peers, cacheBytes: 2 * bytes })
  const file = await client.open(path, { create: true, size: bytes })
  const mapping = await file.mmap()
  // A page of zeros would not travel, so no page is all zeros.
  const range = new Uint8Array(rangeBytes).map((_, at) => at * 31 + fill + 1)
  for (let at = 0; at < bytes; at += rangeBytes) await mapping.write(at, range)
  const begin = performance.now()
  await mapping.msync()
  const ms = performance.now() - begin
  await client.close()
  return ms
}

function rate(bytes: number, ms: number): number {
  return bytes / 1e6 / (ms / 1000)
}
