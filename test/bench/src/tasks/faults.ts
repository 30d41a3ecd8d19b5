/** Faults and commits one by one, each in turn with the rivals' operations. */
import { duel, operationsOf, type DuelAsk, type Figures } from './contest.js'
import { filled, PAGE_BYTES, present, type Parties } from './parties.js'

export interface FaultAsk extends DuelAsk {
  readonly path: string
}

/** Reads pages that are not here, in an order that no read-ahead guesses. */
export async function readFault({ client, bare, etcd }: Parties, ask: FaultAsk): Promise<Figures> {
  await using file = await client.open(ask.path)
  await using mapping = await file.mmap()
  await mapping.advise(0, mapping.length, 'random')
  const bytes = new Uint8Array(PAGE_BYTES)
  const order = shuffled(operationsOf(ask))
  await etcd?.put('page', Buffer.from(filled(PAGE_BYTES, 1)))
  return await duel(
    ask,
    present({
      quire: (at: number) => mapping.readInto(order[at]! * PAGE_BYTES, bytes),
      libp2p: () => bare.roundTrip(),
      'etcd get': etcd && (() => etcd.get('page'))
    })
  )
}

/** Takes pages that nobody owns to write them. */
export async function writeFault({ client, etcd }: Parties, ask: FaultAsk): Promise<Figures> {
  const count = operationsOf(ask)
  await using file = await client.open(ask.path, { create: true, size: count * PAGE_BYTES })
  await using mapping = await file.mmap()
  const order = shuffled(count)
  const value = Buffer.from(filled(PAGE_BYTES, 1))
  return await duel(
    ask,
    present({
      quire: async (at: number) => {
        ;(await mapping.pin(order[at]! * PAGE_BYTES, 4, 'write')).release()
      },
      'etcd put': etcd && ((at: number) => etcd.put(`fault/${at}`, value))
    })
  )
}

/** Writes 64 bytes and makes them durable. */
export async function commit({ client, etcd }: Parties, ask: FaultAsk): Promise<Figures> {
  await using file = await client.open(ask.path, { create: true, size: PAGE_BYTES })
  await using mapping = await file.mmap()
  return await duel(
    ask,
    present({
      quire: async (at: number) => {
        await mapping.write(0, filled(64, at))
        await mapping.msync(0, 64)
      },
      'etcd put': etcd && ((at: number) => etcd.put('commit', Buffer.from(filled(64, at))))
    })
  )
}

function shuffled(count: number): number[] {
  const items = Array.from({ length: count }, (_, at) => at)
  for (let last = count - 1; last > 0; last--) {
    const other = Math.floor(Math.random() * (last + 1))
    ;[items[last], items[other]] = [items[other]!, items[last]!]
  }
  return items
}
