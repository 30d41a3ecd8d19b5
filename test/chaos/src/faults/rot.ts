/** A disk whose bits rot: bytes of pages change in the file of one peer. The other peers have good copies. */
import { closeSync, fstatSync, openSync, readSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { RandomSource } from '@quire/testing'
import type { OwnFault } from './fault.js'

const PAGE_BYTES = 4096
/** The header of a page of LMDB ends with flags and, if the page begins a long value, the number of its pages. */
const HEADER_BYTES = 24
const FLAGS_OFFSET = 18
const COUNT_OFFSET = 20
const OVERFLOW = 4
const MAX_FLIPPED = 40
const TRIES = 4_000
/** A peer that was behind may have no page of the file yet. */
const FILLS = 5

/** Bodies of pages are values of one page (docs/storage.md, Layout). So are some lists of free pages. */
function isBody(page: Buffer): boolean {
  return (
    page.readUInt16LE(FLAGS_OFFSET) === OVERFLOW && page.readUInt32LE(COUNT_OFFSET) === 1 && !isListOfFreePages(page)
  )
}

/**
 * A list has its length and so many numbers of pages. LMDB trusts it: after a flip it would overwrite pages in use, and
 * nothing but a comparison of the states would find that.
 */
function isListOfFreePages(page: Buffer): boolean {
  const length = Number(page.readBigUInt64LE(HEADER_BYTES))
  if (length === 0 || length >= (PAGE_BYTES - HEADER_BYTES) / 8) return false
  const numbers = Array.from({ length: Math.min(length, 8) }, (_, i) => page.readBigInt64LE(HEADER_BYTES + 8 * (i + 1)))
  return numbers.every((number) => Math.abs(Number(number)) < 2 ** 40)
}

/** Changes a byte in each of some bodies, which may be in use or free. Returns how many. */
export function flip(path: string, random: RandomSource): number {
  const file = openSync(path, 'r+')
  try {
    const pages = Math.floor(fstatSync(file).size / PAGE_BYTES)
    const page = Buffer.alloc(PAGE_BYTES)
    let flipped = 0
    for (let tries = 0; pages > 0 && tries < TRIES && flipped < MAX_FLIPPED; tries++) {
      const start = random.int(0, pages - 1) * PAGE_BYTES
      readSync(file, page, 0, PAGE_BYTES, start)
      if (!isBody(page)) continue
      const at = random.int(HEADER_BYTES, PAGE_BYTES - 1)
      writeSync(file, Buffer.from([page[at]! ^ (1 << random.int(0, 7))]), 0, 1, start + at)
      flipped++
    }
    return flipped
  } finally {
    closeSync(file)
  }
}

export const bitsFlipped: OwnFault = {
  kind: 'rot',
  name: 'bits flipped',
  lane: 'processes',
  perMinute: 0.3,
  needs: 'the files of a peer',
  async make({ cluster, random }, begins) {
    // Always the same one, so that others have good copies. Beside a process that writes, other bytes could change.
    const peer = cluster.members[0]!
    for (let fills = 1; ; fills++) {
      // The pages of clients are rewritten all the time.
      await cluster.fill()
      await peer.kill()
      peer.isRotten = true
      const flipped = flip(join(peer.dataDir, 'pages', 'pages.lmdb'), random)
      if (flipped > 0) begins(`${peer.name}: ${flipped} bytes of pages`)
      await peer.start()
      if (flipped > 0) return
      if (fills === FILLS) throw new Error(`${peer.name} has no pages although files were stored ${FILLS} times`)
    }
  }
}
