/**
 * Compares the two units of ownership. It does the same work on a file with `unit: 'file'`, which one client caches at
 * a time, and on a file with `unit: 'page'`, which clients share page by page. It needs a running cluster:
 * `QUIRE_PEERS=… node examples/units/dist/main.js`.
 */
import { createDsmClient, type DsmClient, type DsmFile, type Mapping } from '@quire/dsm-client'
import Table from 'cli-table3'

const CLIENTS = 3
const PAGES = 32
const PAGE = 4096
const ROUNDS = 20

type Unit = 'file' | 'page'

interface Outcome {
  readonly work: string
  readonly ms: Record<Unit, number>
  readonly faults: Record<Unit, number>
}

/** All clients do the work at the same time, each on its own mapping of the same file. */
const WORK: Readonly<Record<string, (mapping: Mapping, client: number) => Promise<void>>> = {
  'all clients read all pages': async (mapping) => {
    for (let round = 0; round < ROUNDS; round++) await mapping.read(0, PAGES * PAGE)
  },
  'each client writes its own pages': async (mapping, client) => {
    for (let round = 0; round < ROUNDS; round++) {
      for (let page = client; page < PAGES; page += CLIENTS) await mapping.write(page * PAGE, Uint8Array.of(round))
    }
  },
  'one client writes a page, the others read the rest': async (mapping, client) => {
    for (let round = 0; round < ROUNDS; round++) {
      if (client === 0) await mapping.write(0, Uint8Array.of(round))
      else await mapping.read(PAGE, (PAGES - 1) * PAGE)
    }
  }
}

async function measure(
  clients: readonly DsmClient[],
  unit: Unit,
  work: string
): Promise<{ ms: number; faults: number }> {
  const path = `/example-units/${unit}/${process.pid}-${Object.keys(WORK).indexOf(work)}`
  const files: DsmFile[] = []
  for (const client of clients) files.push(await client.open(path, { create: true, size: PAGES * PAGE, unit }))
  const mappings = await Promise.all(files.map((file) => file.mmap()))
  const before = countFaults(clients)
  const since = performance.now()
  await Promise.all(mappings.map((mapping, client) => WORK[work]!(mapping, client)))
  const ms = performance.now() - since
  const faults = countFaults(clients) - before
  for (const file of files) await file.close()
  await clients[0]!.unlink(path)
  return { ms, faults }
}

function countFaults(clients: readonly DsmClient[]): number {
  return clients.reduce((sum, client) => {
    const { read, write, upgrade } = client.stats().faults
    return sum + read.count + write.count + upgrade.count
  }, 0)
}

async function main(peers: string): Promise<void> {
  const clients = await Promise.all(Array.from({ length: CLIENTS }, () => createDsmClient({ peers })))
  try {
    const outcomes: Outcome[] = []
    for (const work of Object.keys(WORK)) {
      const file = await measure(clients, 'file', work)
      const page = await measure(clients, 'page', work)
      outcomes.push({ work, ms: { file: file.ms, page: page.ms }, faults: { file: file.faults, page: page.faults } })
    }
    const table = new Table({
      head: [`${CLIENTS} clients, ${PAGES} pages`, "unit 'file'", "unit 'page'", 'gain'],
      // No colors, because the output may go into a pipe.
      style: { head: [], border: [] }
    })
    for (const { work, ms, faults } of outcomes) {
      const cell = (unit: Unit): string => `${ms[unit].toFixed(0)} ms, ${faults[unit]} faults`
      table.push([work, cell('file'), cell('page'), `${(ms.file / ms.page).toFixed(1)}x`])
    }
    console.log(table.toString())
  } finally {
    await Promise.all(clients.map((client) => client.close()))
  }
}

const peers = process.env.QUIRE_PEERS ?? ''
if (peers === '') {
  console.error(
    'QUIRE_PEERS names no peers. `quire dev` (see the README) runs a cluster on this machine and prints its addresses.'
  )
  process.exitCode = 2
} else {
  try {
    await main(peers)
  } catch (error) {
    console.error(String(error))
    process.exitCode = 1
  }
}
