/** How much of a peer's log is written, read from its files. */
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

// The layout of a batch: packages/raft/src/log/batch.ts.
const SECTOR_BYTES = 512
const MAGIC = 0x31_42_51_8f
const PAYLOAD_LENGTH_AT = 16
/** The close of the file, and some commits before it. */
const LAST = 4

export interface LogSize {
  /** Bytes of all segments, up to the last sector that is written, by the name of the segment. */
  readonly written: ReadonlyMap<string, number>
  /** The largest payload of the last few batches. */
  readonly lastBatches: number
}

export function logSize(dataDir: string): LogSize {
  const folder = join(dataDir, 'log')
  const written = new Map<string, number>()
  let lastBatches = 0
  for (const name of readdirSync(folder).sort()) {
    const bytes = readFileSync(join(folder, name))
    let end = bytes.length
    while (end > 0 && bytes[end - 1] === 0) end--
    const used = Math.ceil(end / SECTOR_BYTES) * SECTOR_BYTES
    written.set(name, used)
    const last: number[] = []
    for (let at = used - SECTOR_BYTES; at >= 0 && last.length < LAST; at -= SECTOR_BYTES)
      if (bytes.readUInt32LE(at) === MAGIC) last.push(bytes.readUInt32LE(at + PAYLOAD_LENGTH_AT))
    if (last.length > 0) lastBatches = Math.max(...last)
  }
  return { written, lastBatches }
}

/** Bytes that the peer wrote between the two looks. A segment that is gone by then was full at the first look. */
export function grown(before: LogSize, after: LogSize): number {
  return [...after.written].reduce((sum, [name, bytes]) => sum + bytes - (before.written.get(name) ?? 0), 0)
}
