/** A disk whose bits rot: bytes of pages change in the file of one peer. The other peers have good copies. */
import { closeSync, fstatSync, openSync, readSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { RandomSource } from '@quire/testing'
import type { OwnFault } from './fault.js'

const PAGE_BYTES = 4096
const HEADER_BYTES = 28
/** LMDB marks a page that holds a long value, and nothing else: here, a body (docs/storage.md, Layout). */
const FLAGS_OFFSET = 18
const OVERFLOW = 4
const MAX_FLIPPED = 40
const TRIES = 4_000
/** A peer that was behind may have no page of the file yet. */
const FILLS = 5

/** Changes a byte in each of some bodies, which may be in use or free. Returns how many. */
function flip(path: string, random: RandomSource): number {
  const file = openSync(path, 'r+')
  try {
    const pages = Math.floor(fstatSync(file).size / PAGE_BYTES)
    const page = Buffer.alloc(PAGE_BYTES)
    let flipped = 0
    for (let tries = 0; pages > 0 && tries < TRIES && flipped < MAX_FLIPPED; tries++) {
      const start = random.int(0, pages - 1) * PAGE_BYTES
      readSync(file, page, 0, PAGE_BYTES, start)
      if (page.readUInt16LE(FLAGS_OFFSET) !== OVERFLOW) continue
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
