/** Many programs at once. The benchmark starts the rounds, because several workers take part. */
import type { Mapping } from '@quire/dsm-client'
import { setTimeout as pause } from 'node:timers/promises'
import { filled, PAGE_BYTES, type Parties } from './parties.js'
import { median } from './contest.js'

export interface CrowdAsk {
  readonly on: 'quire' | 'etcd' | 'redis'
  /** The number of this worker, which keeps its pages and keys apart from those of others. */
  readonly index: number
  readonly ms: number
}

export interface WritersAsk extends CrowdAsk {
  readonly writers: number
}

/** Each writer changes 64 bytes of a page of its own and makes them durable. Returns commits a second. */
export async function writers({ client, etcd }: Parties, { on, index, ms, writers }: WritersAsk): Promise<number> {
  const own = 64
  await using file = await client.open('/bench/writers', { create: true, size: 4 * own * PAGE_BYTES })
  await using mapping = await file.mmap()
  let commits = 0
  const writer = async (number: number): Promise<void> => {
    const place = (index * own + number) * PAGE_BYTES
    while (performance.now() < end) {
      if (on === 'quire') {
        await mapping.write(place, filled(64, commits))
        await mapping.msync(place, 64)
      } else await etcd!.put(`writers/${place}`, Buffer.from(filled(64, commits)))
      commits++
    }
  }
  // The pages change owners before the time begins.
  if (on === 'quire') (await mapping.pin(index * own * PAGE_BYTES, writers * PAGE_BYTES, 'write')).release()
  const begin = performance.now()
  const end = begin + ms
  await Promise.all(Array.from({ length: writers }, (_, number) => writer(number)))
  return commits / ((performance.now() - begin) / 1000)
}

export interface CommitsAsk {
  readonly writers: number
  /** Of each writer. */
  readonly commits: number
}

/** So many writers at once each change 64 bytes of a page of their own, and make each change durable. */
export async function commits({ client }: Parties, { writers, commits }: CommitsAsk): Promise<undefined> {
  await using file = await client.open(`/bench/commits of ${writers}`, { create: true, size: writers * PAGE_BYTES })
  await using mapping = await file.mmap()
  const writer = async (place: number): Promise<void> => {
    for (let i = 0; i < commits; i++) {
      await mapping.write(place, filled(64, i))
      await mapping.msync(place, 64)
    }
  }
  await Promise.all(Array.from({ length: writers }, (_, number) => writer(number * PAGE_BYTES)))
  return undefined
}

/** Two workers increment one number in turn. Returns the handoffs of this one a second. */
export async function pingPong(parties: Parties, { on, index, ms }: CrowdAsk): Promise<number> {
  return on === 'quire' ? pingPongOnPage(parties, index, ms) : pingPongOnKey(parties, index, ms)
}

async function pingPongOnPage({ client }: Parties, index: number, ms: number): Promise<number> {
  await using file = await client.open('/bench/ping-pong', { create: true, size: PAGE_BYTES })
  await using mapping = await file.mmap()
  const begin = performance.now()
  let turns = 0
  while (performance.now() < begin + ms) {
    if (await takeTurn(mapping, index)) turns++
    // A pin of a page that is here takes no turn of the event loop, and without one no order of the leader arrives.
    else await new Promise((resolve) => setImmediate(resolve))
  }
  return turns / ((performance.now() - begin) / 1000)
}

/** Increments the number if it is this worker's turn. */
async function takeTurn(mapping: Mapping, index: number): Promise<boolean> {
  using page = await mapping.pin(0, 4, 'write')
  const word = new DataView(page.bytes.buffer, page.bytes.byteOffset)
  const value = word.getUint32(0, true)
  if (value % 2 !== index) return false
  word.setUint32(0, value + 1, true)
  return true
}

async function pingPongOnKey({ etcd }: Parties, index: number, ms: number): Promise<number> {
  const store = etcd!
  const begin = performance.now()
  let turns = 0
  let isOver = false
  await new Promise<void>((resolve, reject) => {
    const answer = (text: string): void => {
      const value = Number(text)
      if (isOver || value % 2 !== index) return
      store.compareAndSet('ping-pong', text, String(value + 1)).then((done) => void (done && turns++), reject)
    }
    const start = async (): Promise<void> => {
      await store.watch('ping-pong', answer)
      const value = await store.get('ping-pong')
      if (value !== null) answer(value.toString())
      else if (index === 0) await store.put('ping-pong', Buffer.from('0'))
    }
    start().catch(reject)
    // By the clock: the last turn may be the other's, which has ended.
    setTimeout(resolve, ms)
  })
  isOver = true
  return turns / ((performance.now() - begin) / 1000)
}

export interface ReaderAnswer {
  /** Changes a second that the reader has seen. */
  readonly changes: number
  readonly reads: number
  readonly p99Us: number
  readonly p50Us: number
}

/** Reads a counter again and again, with a pause of 2 ms, while another worker writes it. */
export async function reader({ client, redis }: Parties, { on, ms }: CrowdAsk): Promise<ReaderAnswer> {
  await using file = await client.open('/bench/counter', { create: true, size: PAGE_BYTES })
  await using mapping = await file.mmap()
  const read = async (): Promise<number> => {
    const bytes = on === 'quire' ? await mapping.read(0, 4) : Buffer.from((await redis!.get('counter')) ?? [0, 0, 0, 0])
    return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true)
  }
  const times: number[] = []
  let changes = 0
  let last = -1
  const begin = performance.now()
  while (performance.now() < begin + ms) {
    const before = performance.now()
    const value = await read()
    times.push((performance.now() - before) * 1000)
    if (value !== last) changes++
    last = value
    await pause(2)
  }
  const seconds = (performance.now() - begin) / 1000
  times.sort((a, b) => a - b)
  const p99Us = times[Math.floor(times.length * 0.99)]!
  return { changes: changes / seconds, reads: times.length / seconds, p99Us, p50Us: median(times) }
}

/** Writes the counter 200 times a second. */
export async function changer({ client, redis }: Parties, { on, ms }: CrowdAsk): Promise<number> {
  await using file = await client.open('/bench/counter', { create: true, size: PAGE_BYTES })
  await using mapping = await file.mmap()
  const begin = performance.now()
  let value = 0
  while (performance.now() < begin + ms) {
    const bytes = Buffer.alloc(4)
    bytes.writeUInt32LE(++value)
    if (on === 'quire') await mapping.write(0, bytes)
    else await redis!.set('counter', bytes)
    await pause(Math.max(0, begin + value * 5 - performance.now()))
  }
  return value / ((performance.now() - begin) / 1000)
}
