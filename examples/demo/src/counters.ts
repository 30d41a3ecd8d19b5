/**
 * The counters file. Page 0 holds the shared word, and the pages of each client follow. A word has 32 bits,
 * little-endian, and stands at the start of its page.
 */
import type { Mapping } from '@quire/dsm-client'

export const CLIENTS = 2
export const PAGE_BYTES = 4096
const PAGES_EACH = 8
const PAGES = 1 + CLIENTS * PAGES_EACH

export const COUNTERS_BYTES = PAGES * PAGE_BYTES
const SHARED = 0

/** The offset of the word that only client `index` increments, in round `round`. */
function ownWord(index: number, round: number): number {
  return (1 + index * PAGES_EACH + (round % PAGES_EACH)) * PAGE_BYTES
}

/** The bytes that the file must contain in the end. */
export function expectedCounters(rounds: number): Uint8Array {
  const bytes = new Uint8Array(COUNTERS_BYTES)
  const view = new DataView(bytes.buffer)
  view.setUint32(SHARED, CLIENTS * rounds, true)
  for (let index = 0; index < CLIENTS; index++) {
    for (let round = 0; round < rounds; round++) {
      const at = ownWord(index, round)
      view.setUint32(at, view.getUint32(at, true) + 1, true)
    }
  }
  return bytes
}

/** Extracts the shared word and the sum of each client's own words. */
export function sumsOf(bytes: Uint8Array): { shared: number; own: number[] } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const own: number[] = []
  for (let index = 0; index < CLIENTS; index++) {
    let sum = 0
    for (let page = 0; page < PAGES_EACH; page++) sum += view.getUint32(ownWord(index, page), true)
    own.push(sum)
  }
  return { shared: view.getUint32(SHARED, true), own }
}

/**
 * Increments the shared word `rounds` times, in turn with the other client, and equally often a word of a page that
 * only this client writes. It checks each value before it changes it, so a lost or repeated increment is an error at
 * once.
 */
export async function count(mapping: Mapping, index: number, rounds: number, progress: (done: number) => void) {
  for (let round = 0; round < rounds; round++) {
    const turn = round * CLIENTS + index
    // Polling needs only a readable copy, which stays here until the other client writes. Until then it costs nothing.
    while ((await readWord(mapping, SHARED)) !== turn) await pause(1)
    await increment(mapping, SHARED, turn)
    await increment(mapping, ownWord(index, round), Math.floor(round / PAGES_EACH))
    // Makes a hundred rounds durable at a time.
    if (round % 100 === 99) await mapping.msync()
    progress(round + 1)
  }
}

/** Increments a word under a pin. While the pin is held, no other client can read or write the page. */
async function increment(mapping: Mapping, at: number, expected: number): Promise<void> {
  using page = await mapping.pin(at, 4, 'write')
  const word = new DataView(page.bytes.buffer, page.bytes.byteOffset)
  const value = word.getUint32(0, true)
  if (value !== expected) throw new Error(`the word at ${at} is ${value}, expected ${expected}`)
  word.setUint32(0, value + 1, true)
}

async function readWord(mapping: Mapping, at: number): Promise<number> {
  const bytes = await mapping.read(at, 4)
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true)
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
