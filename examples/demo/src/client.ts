/** A client program. It runs in its own process, maps files of the cluster and executes the demo's tasks. */
import { createHash } from 'node:crypto'
import { createDsmClient, type DsmClient } from '@quire/dsm-client'
import { COUNTERS_BYTES, count, sumsOf } from './counters.js'
import type { Answer, Ask, Report, Request } from './messages.js'

/** Smaller than the file, so that pages are evicted. */
const CACHE_BYTES = 32 * 1024 * 1024
const CHUNK_BYTES = 4 * 1024 * 1024

let client: DsmClient
let ownIndex = 0

async function connect({ peers, index }: Ask<'connect'>): Promise<undefined> {
  ownIndex = index
  client = await createDsmClient({ peers: [...peers], cacheBytes: CACHE_BYTES })
  client.addEventListener('leaderchange', ({ detail }) => report({ type: 'leader', ...detail }))
  client.addEventListener('sessionlost', ({ detail }) =>
    report({ type: 'session-lost', message: `with ${detail.lost.length} dirty ranges` })
  )
}

/** Reads a chunk while it hashes the previous one. A large read faults in many pages at once. */
async function digest({ path }: Ask<'digest'>): Promise<Answer<'digest'>> {
  await using file = await client.open(path)
  await using mapping = await file.mmap({ prot: 'read' })
  const hash = createHash('sha256')
  const read = (offset: number) => mapping.read(offset, Math.min(CHUNK_BYTES, mapping.length - offset))
  let next = read(0)
  for (let offset = 0; offset < mapping.length;) {
    const chunk = await next
    offset += chunk.length
    if (offset < mapping.length) next = read(offset)
    hash.update(chunk)
    report({ type: 'progress', done: offset / mapping.length })
  }
  return hash.digest('hex')
}

async function countIn({ path, rounds }: Ask<'count'>): Promise<undefined> {
  // The client that opens the file first creates it.
  await using file = await client.open(path, { create: true, size: COUNTERS_BYTES })
  await using mapping = await file.mmap()
  await count(mapping, ownIndex, rounds, (done) => report({ type: 'progress', done: done / rounds }))
}

async function sums({ path }: Ask<'sums'>): Promise<Answer<'sums'>> {
  await using file = await client.open(path)
  await using mapping = await file.mmap({ prot: 'read' })
  return sumsOf(await mapping.read(0, mapping.length))
}

async function run(request: Request): Promise<unknown> {
  switch (request.task) {
    case 'connect':
      return connect(request.ask)
    case 'digest':
      return digest(request.ask)
    case 'count':
      return countIn(request.ask)
    case 'sums':
      return sums(request.ask)
    case 'stats':
      return client.stats()
    case 'close':
      return client.close()
  }
}

function report(message: Report): void {
  // A closed channel means that the demo has ended. `disconnect` follows.
  if (process.connected) process.send!(message)
}

process.on('message', (request: Request) => {
  run(request).then(
    (answer) => report({ type: 'answer', answer }),
    (error: Error) => report({ type: 'error', message: `${error.name}: ${error.message}` })
  )
})
// Ctrl-C reaches every process of a terminal, but the demo decides when its clients end. They do not outlive it.
process.on('SIGINT', () => {})
process.on('disconnect', () => process.exit())
