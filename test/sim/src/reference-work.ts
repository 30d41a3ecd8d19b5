import { crc32 } from 'node:zlib'

/** Rounds of one measurement. It takes a fraction of a second. */
const ROUNDS = 200_000
const MEASUREMENTS = 5
/** Entries that the map holds at a time. */
const KEYS = 512

/**
 * Returns how many rounds of a fixed piece of work this machine does in a second of processor time: the median of some
 * measurements.
 *
 * Divide a simulator's rate by it: the quotient is about the same on a slow machine and on a fast one. A round does
 * what simulators do most: it allocates, copies and hashes a few bytes, and calls closures from a map.
 */
export function referenceRoundsPerSecond(): number {
  const rates = Array.from({ length: MEASUREMENTS }, measure)
  return rates.toSorted((a, b) => a - b)[Math.floor(MEASUREMENTS / 2)]!
}

function measure(): number {
  const start = process.cpuUsage()
  work()
  const { user, system } = process.cpuUsage(start)
  return (ROUNDS * 1e6) / (user + system)
}

function work(): number {
  const callbacks = new Map<string, (crc: number) => number>()
  let crc = 0
  for (let round = 0; round < ROUNDS; round++) {
    const bytes = new Uint8Array(64)
    bytes.fill(round)
    const copy = bytes.slice(8)
    callbacks.set(`key ${round % KEYS}`, (last) => crc32(copy, last))
    crc = callbacks.get(`key ${(round * 7) % (KEYS - 1)}`)?.(crc) ?? crc
  }
  return crc
}
