import Table from 'cli-table3'
import type { Command } from 'commander'
import { keyOf, peersOf, withCluster, type ClusterOptions } from './options.js'
import { printJson, printLine } from './output.js'
import { stagePercentile, type StageReport } from '../server/stages.js'
import { shortId } from '../peer/founding.js'
import { createProbe, type Probe, type StatusAnswer } from './probe.js'
import { MAX_ROUND_TRIP_MS, UnavailableError } from '@quire/protocol'

/**
 * Far peers answer after five round trips. A peer that does not take the next step of a connection is given up sooner,
 * by the network.
 */
const TIMEOUT_MS = 10 * MAX_ROUND_TRIP_MS

/** A peer that answered, or why it did not. */
interface Row {
  readonly id: string
  readonly addresses: readonly string[]
  readonly answer?: StatusAnswer
  readonly error?: string
}

export function addStatusCommand(program: Command): void {
  withCluster(program.command('status'))
    .description('what each peer of the cluster says about itself')
    .action(async (options: ClusterOptions) => {
      const peers = peersOf(options)
      const probe = await createProbe(await keyOf(options))
      try {
        show(await collect(probe, peers, options.timeout ?? TIMEOUT_MS), options.json === true)
      } finally {
        await probe.close()
      }
    })
}

/** The first peer that answers names the others. */
async function collect(probe: Probe, peers: readonly string[], timeoutMs: number): Promise<Row[]> {
  let first: StatusAnswer
  try {
    first = await Promise.any(peers.map((address) => probe.status(address, timeoutMs)))
  } catch (error) {
    const [cause] = (error as AggregateError).errors as Error[]
    throw cause ?? new UnavailableError('no peer answered')
  }
  return Promise.all(
    [...first.voters, ...first.learners].map(({ peerId, addresses }) => askOne(probe, peerId, addresses, timeoutMs))
  )
}

async function askOne(probe: Probe, id: string, addresses: readonly string[], timeoutMs: number): Promise<Row> {
  try {
    return { id, addresses, answer: await Promise.any(addresses.map((address) => probe.status(address, timeoutMs))) }
  } catch (error) {
    const [cause] = (error as AggregateError).errors as Error[]
    return { id, addresses, error: cause?.message ?? 'no address' }
  }
}

function show(rows: readonly Row[], json: boolean): void {
  if (json) {
    for (const { id, addresses, answer, error } of rows) {
      if (answer === undefined) printJson({ id, addresses, error })
      else {
        const { type: _type, seq: _seq, leader, stages, ...status } = answer
        printJson({ ...status, leader: leader === '' ? null : leader, addresses, stages: stages.map(summarize) })
      }
    }
    return
  }
  const table = new Table({
    head: ['peer', 'role', 'term', 'last', 'commit', 'applied', 'sessions', 'owned pages', 'address'],
    style: process.stdout.isTTY ? {} : { head: [], border: [] }
  })
  for (const { id, addresses, answer } of rows) {
    const address = addresses[0]?.replace(/\/p2p\/.*$/, '') ?? ''
    if (answer === undefined) table.push([id, 'unreachable', '', '', '', '', '', '', address])
    else {
      const { role, term, lastIndex, commitIndex, appliedIndex, sessions, ownedPages } = answer
      table.push([id, role, term, lastIndex, commitIndex, appliedIndex, sessions, ownedPages, address])
    }
  }
  const answers = rows.flatMap(({ answer }) => answer ?? [])
  printLine(`cluster ${answers[0]?.clusterId ?? ''}`)
  printLine(`founding ${answers[0]?.founding ?? ''}`)
  printLine(table.toString())
  for (const line of trouble(answers)) printLine(line)
}

/** Peers that are kept out, and why: nothing else would show it. */
function trouble(answers: readonly StatusAnswer[]): string[] {
  return answers.flatMap(({ id, admitted, quarantined }) => [
    ...(admitted ? [] : [`${shortId(id)} is new and takes no part yet: all founding voters, or a leader, must agree`]),
    ...quarantined.map(({ peerId, reason }) => `${shortId(id)} and ${shortId(peerId)} do not work together: ${reason}`)
  ])
}

/** With the figures that people ask for; the buckets are there for who compares two moments. */
function summarize({ name, buckets }: StageReport): StageReport & { count: number; p50Us: number; p99Us: number } {
  const count = buckets.reduce((sum, bucket) => sum + bucket.count, 0)
  const [p50Us = 0, p99Us = 0] = [50, 99].map((percent) => Math.round(stagePercentile(buckets, percent)))
  return { name, count, p50Us, p99Us, buckets }
}
