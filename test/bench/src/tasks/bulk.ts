/** Many bytes in a row. */
import { contest, rateOf, type Figures } from './contest.js'
import { filled, PAGE_BYTES, present, type Parties } from './parties.js'

export interface BulkAsk {
  readonly path: string
  readonly rounds: number
  readonly bytes: number
  /** Without rivals. */
  readonly alone?: boolean
}

/** Writes of etcd that are under way at once. */
const ETCD_WRITES = 64
/** Redis reads page by page, and needs fewer pages for a steady figure. */
const REDIS_SHARE = 1 / 8
const MiB = 1024 * 1024

/** Scans a file that is not here with reads of each size, and with pins of 1 MiB. In MiB a second. */
export async function scan({ bare, redis, newClient }: Parties, ask: BulkAsk): Promise<Figures> {
  const { path, rounds, bytes } = ask
  await redis?.set('scan', Buffer.from(filled(PAGE_BYTES, 1)))
  const quire = (readBytes: number) => async (): Promise<number> => {
    await using client = await newClient({ cacheBytes: 2 * bytes })
    await using file = await client.open(path)
    await using mapping = await file.mmap()
    const target = new Uint8Array(readBytes)
    const begin = performance.now()
    for (let at = 0; at < bytes; at += readBytes) await mapping.readInto(at, target)
    return rateOf(bytes / MiB, begin)
  }
  const pins = async (): Promise<number> => {
    await using client = await newClient({ cacheBytes: 2 * bytes })
    await using file = await client.open(path)
    await using mapping = await file.mmap()
    const begin = performance.now()
    for (let at = 0; at < bytes; at += MiB) (await mapping.pin(at, MiB, 'read')).release()
    return rateOf(bytes / MiB, begin)
  }
  return contest(
    rounds,
    present({
      'quire 4 KiB': quire(4096),
      'quire 64 KiB': quire(65_536),
      'quire 1 MiB': quire(MiB),
      'quire pins': pins,
      libp2p: async () => {
        const begin = performance.now()
        await bare.receive(bytes)
        return rateOf(bytes / MiB, begin)
      },
      redis:
        redis &&
        (async () => {
          const begin = performance.now()
          const part = bytes * REDIS_SHARE
          for (let at = 0; at < part; at += PAGE_BYTES) await redis.get('scan')
          return rateOf(part / MiB, begin)
        })
    })
  )
}

/** Writes a file and makes it durable. In MiB a second. */
export async function fill({ client, etcd }: Parties, ask: BulkAsk): Promise<Figures> {
  const { path, rounds, bytes, alone = false } = ask
  let fills = 0
  const value = Buffer.from(filled(PAGE_BYTES, 1))
  return contest(
    rounds,
    present({
      quire: async () => {
        await using file = await client.open(`${path}/${fills++}`, { create: true, size: bytes })
        await using mapping = await file.mmap()
        const part = filled(MiB, fills)
        const begin = performance.now()
        for (let at = 0; at < bytes; at += MiB) await mapping.write(at, part)
        await mapping.msync()
        return rateOf(bytes / MiB, begin)
      },
      'etcd puts':
        etcd &&
        !alone &&
        (async () => {
          const begin = performance.now()
          let next = 0
          const end = bytes / 4 / PAGE_BYTES
          const writer = async (): Promise<void> => {
            while (next < end) await etcd.put(`fill/${next++}`, value)
          }
          await Promise.all(Array.from({ length: ETCD_WRITES }, writer))
          return rateOf(bytes / 4 / MiB, begin)
        })
    })
  )
}
