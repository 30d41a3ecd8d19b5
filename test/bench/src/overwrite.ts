/** Overwrites a file durably, part after part, and tells when how much was durable. */
import { createDsmClient } from '@quire/dsm-client'

export interface OverwriteAsk {
  readonly peers: readonly string[]
  readonly path: string
  readonly fileBytes: number
  /** Ends after so many bytes, */
  readonly bytes?: number
  /** or after so many seconds. */
  readonly seconds?: number
}

/** The bytes that were durable at a moment, counted from the beginning. */
export interface Progress {
  readonly atMs: number
  readonly bytes: number
}

const PART_BYTES = 2 ** 20
/** Parts follow each other in steps of this, so that neighbors are written at different times. */
const STRIDE = 7_919

export async function overwrite({
  peers,
  path,
  fileBytes,
  bytes,
  seconds
}: OverwriteAsk): Promise<readonly Progress[]> {
  const client = await createDsmClient({ peers, faultTimeoutMs: 60_000 })
  const file = await client.open(path, { create: true, size: fileBytes })
  const parts = fileBytes / PART_BYTES
  const endMs = seconds === undefined ? Infinity : Date.now() + seconds * 1_000
  const done: Progress[] = [{ atMs: Date.now(), bytes: 0 }]
  for (let round = 0; done.length - 1 < (bytes ?? Infinity) / PART_BYTES && Date.now() < endMs; round++) {
    const part = (round * STRIDE) % parts
    // A page of zeros would not travel, so no page is all zeros.
    await file.write(part * PART_BYTES, new Uint8Array(PART_BYTES).fill((round % 255) + 1))
    await file.sync()
    done.push({ atMs: Date.now(), bytes: (round + 1) * PART_BYTES })
  }
  await client.close()
  return done
}

/** Bytes a second from one moment to another. */
export function speed(progress: readonly Progress[], fromMs: number, toMs: number): number {
  const at = (ms: number): number => progress.findLast(({ atMs }) => atMs <= ms)?.bytes ?? 0
  return (at(toMs) - at(fromMs)) / ((toMs - fromMs) / 1_000)
}
