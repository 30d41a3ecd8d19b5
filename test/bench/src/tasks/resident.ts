/** Accesses to bytes that are here. */
import { contest, rateOf, type Figures } from './contest.js'
import { filled, PAGE_BYTES, present, type Parties } from './parties.js'

const READ_BYTES = 64
const REDIS_BATCH = 1000

export interface ResidentAsk {
  readonly rounds: number
  readonly reads: number
}

/** Sums the words of a pinned page, and of an array, in reads a second. */
export async function pinHit({ client }: Parties, { rounds, reads }: ResidentAsk): Promise<Figures> {
  await using file = await client.open('/bench/pin-hit', { create: true, size: PAGE_BYTES })
  await using mapping = await file.mmap()
  await mapping.write(0, filled(PAGE_BYTES, 1))
  using pinned = await mapping.pin(0, PAGE_BYTES, 'write')
  const words = new Uint32Array(pinned.bytes.buffer, pinned.bytes.byteOffset, PAGE_BYTES / 4)
  const plain = Uint32Array.from(words)
  return await contest(rounds, {
    quire: async () => timed(() => sum(words, reads), reads),
    array: async () => timed(() => sum(plain, reads), reads)
  })
}

function timed(run: () => number, reads: number): number {
  const begin = performance.now()
  if (run() === 0) throw new Error('the words have no sum')
  return rateOf(reads, begin)
}

function sum(words: Uint32Array, reads: number): number {
  let total = 0
  for (let i = 0; i < reads; i++) total = (total + words[i & 1023]!) | 0
  return total || 1
}

/** Reads of 64 bytes that are here, one after the other, against pipelined GETs, in reads a second. */
export async function warmRead(parties: Parties, { rounds, reads }: ResidentAsk): Promise<Figures> {
  return readAgainstRedis(parties, rounds, reads)
}

/** As {@link warmRead}, for the first reads of a process. It warms nothing up. */
export async function firstReads(parties: Parties, { reads }: ResidentAsk): Promise<Figures> {
  return readAgainstRedis(parties, 0, reads)
}

async function readAgainstRedis({ client, redis }: Parties, rounds: number, reads: number): Promise<Figures> {
  const pages = 64
  await using file = await client.open('/bench/warm-read', { create: true, size: pages * PAGE_BYTES })
  await using mapping = await file.mmap()
  // Makes the pages resident without a call of `read`.
  ;(await mapping.pin(0, pages * PAGE_BYTES, 'write')).release()
  await redis?.set('warm', Buffer.from(filled(READ_BYTES, 1)))
  const quire = async (): Promise<number> => {
    const begin = performance.now()
    for (let i = 0; i < reads; i++) await mapping.read((i % pages) * PAGE_BYTES, READ_BYTES)
    return rateOf(reads, begin)
  }
  const rival = async (): Promise<number> => {
    const begin = performance.now()
    for (let done = 0; done < reads; done += REDIS_BATCH) {
      await Promise.all(Array.from({ length: Math.min(REDIS_BATCH, reads - done) }, () => redis!.get('warm')))
    }
    return rateOf(reads, begin)
  }
  const contenders = present({ quire, redis: redis && rival })
  if (rounds > 0) return await contest(rounds, contenders)
  const figures: Record<string, number[]> = {}
  for (const [name, run] of Object.entries(contenders)) figures[name] = [await run()]
  return figures
}
