/** A process of the benchmark: a client, or the other end of the bare round trips. */
import { createDsmClient, type DsmClient, type Mapping } from '@quire/dsm-client'
import { connectBare, serveBare, type Bare } from './bare.js'
import { bulk, type BulkAnswer, type BulkAsk } from './bulk.js'
import { overwrite, type OverwriteAsk, type Progress } from './overwrite.js'

export interface Tasks {
  serve: { ask: undefined; answer: string }
  connect: { ask: { readonly peers: readonly string[]; readonly bare: string }; answer: undefined }
  /** Accesses each page once, in turn with bare round trips. */
  touch: { ask: TouchAsk; answer: TouchAnswer }
  pingPong: { ask: PingPongAsk; answer: readonly number[] }
  bulk: { ask: BulkAsk; answer: BulkAnswer }
  overwrite: { ask: OverwriteAsk; answer: readonly Progress[] }
}

interface TouchAsk {
  readonly path: string
  readonly access: 'read' | 'write'
  readonly pages: readonly number[]
  /** The number of first operations that do not count. */
  readonly warmUp: number
}
/** In µs. */
export interface TouchAnswer {
  readonly page: readonly number[]
  readonly bare: readonly number[]
}

interface PingPongAsk {
  readonly path: string
  readonly index: number
  readonly rounds: number
  readonly warmUp: number
}

export type TaskName = keyof Tasks
export type Request = { [N in TaskName]: { readonly task: N; readonly ask: Tasks[N]['ask'] } }[TaskName]
export type Report = { readonly answer: unknown } | { readonly error: string }

export const PAGE_BYTES = 4096

let client: DsmClient
let bare: Bare

async function connect({ peers, bare: address }: Tasks['connect']['ask']): Promise<undefined> {
  client = await createDsmClient({ peers })
  bare = await connectBare(address)
}

async function touch({ path, access, pages, warmUp }: TouchAsk): Promise<TouchAnswer> {
  await using file = await client.open(path)
  await using mapping = await file.mmap()
  const bytes = new Uint8Array(PAGE_BYTES)
  const one = async (page: number) => {
    if (access === 'read') return mapping.readInto(page * PAGE_BYTES, bytes)
    const pinned = await mapping.pin(page * PAGE_BYTES, 4, 'write')
    pinned.bytes[0]! ^= 1
    pinned.release()
  }
  const answer = { page: [] as number[], bare: [] as number[] }
  for (const [at, page] of pages.entries()) {
    const isCounted = at >= warmUp
    // They take turns, and take turns at being first, so that both meet the same moments of the machine.
    const runs = [
      { samples: answer.page, run: () => one(page) },
      { samples: answer.bare, run: () => bare.roundTrip() }
    ]
    for (const { samples, run } of at % 2 === 0 ? runs : runs.toReversed()) {
      const begin = performance.now()
      await run()
      const us = (performance.now() - begin) * 1000
      if (isCounted) samples.push(us)
    }
  }
  return answer
}

/**
 * Two clients increment one word in turn. Each writes the time into the page, and the other reads it there. The
 * difference is the time of a handoff from one increment to the next, on the clock that all processes of a machine
 * share.
 */
async function pingPong({ path, index, rounds, warmUp }: PingPongAsk): Promise<readonly number[]> {
  await using file = await client.open(path, { create: true, size: PAGE_BYTES })
  await using mapping = await file.mmap()
  const samples: number[] = []
  for (let round = 0; round < rounds;) {
    const us = await increment(mapping, index)
    if (us === undefined) await new Promise((resolve) => setTimeout(resolve, 1))
    else if (round++ >= warmUp) samples.push(us)
  }
  return samples
}

/** Undefined when it is the other client's turn. */
async function increment(mapping: Mapping, index: number): Promise<number | undefined> {
  using page = await mapping.pin(0, 16, 'write')
  const view = new DataView(page.bytes.buffer, page.bytes.byteOffset)
  const value = view.getUint32(0, true)
  if (value % 2 !== index) return undefined
  const now = process.hrtime.bigint()
  const before = view.getBigUint64(8, true)
  view.setUint32(0, value + 1, true)
  view.setBigUint64(8, now, true)
  return Number(now - before) / 1000
}

function run(request: Request): Promise<unknown> {
  switch (request.task) {
    case 'serve':
      return serveBare()
    case 'connect':
      return connect(request.ask)
    case 'touch':
      return touch(request.ask)
    case 'pingPong':
      return pingPong(request.ask)
    case 'bulk':
      return bulk(bare, request.ask)
    case 'overwrite':
      return overwrite(request.ask)
  }
}

// The benchmark imports this module for its types, and runs it as a process.
if (process.send !== undefined) {
  const report = (message: Report) => process.connected && process.send!(message)
  process.on('message', (request: Request) => {
    run(request).then(
      (answer) => report({ answer }),
      (error: Error) => report({ error: `${error.name}: ${error.message}` })
    )
  })
  process.on('disconnect', () => process.exit())
}
