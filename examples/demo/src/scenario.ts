/** The steps of the demo. Each prints what it sees. After a failed check the remaining steps still run. */
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import type { Children } from './children.js'
import { startClient, type ClientProcess } from './client-process.js'
import { PEERS, startCluster, type Cluster, type PeerStatus } from './cluster.js'
import { CLIENTS, COUNTERS_BYTES, expectedCounters } from './counters.js'
import type { Options } from './options.js'
import { mebibytes, percent, short, statsTable, type Output } from './output.js'
import { createWatch, type Watch } from './watch.js'

const FILE = '/demo/file'
const COUNTERS = '/demo/counters'
/** The killed peer stays away for at least this long. */
const AWAY_MS = 1500
const CATCH_UP_MS = 20_000
const POLL_MS = 200

export interface Scenario {
  readonly options: Options
  readonly output: Output
  readonly children: Children
  /** A temporary folder for the data of the peers. */
  readonly folder: string
  /** The SHA-256 of the file to import. */
  readonly sha256: string
}

export async function runDemo(scenario: Scenario): Promise<void> {
  const { options, output, children, folder, sha256 } = scenario
  const cluster = await startCluster(children, join(folder, 'peers'))
  const leader = (await leaderOf(cluster)).id
  output.say(`${PEERS} peers run, ${short(leader)} leads`)

  const importing = stopwatch()
  await cluster.put(options.file, FILE)
  output.say(`quire put: ${mebibytes(options.fileBytes)} in ${rate(options.fileBytes, importing())}`)

  const watch = createWatch(output, leader)
  const clients: ClientProcess[] = []
  for (let index = 0; index < CLIENTS; index++) clients.push(startClient(children, index, watch))
  await Promise.all(clients.map((client, index) => client.run('connect', { peers: cluster.addresses, index })))

  await compareFile(scenario, clients, watch, sha256, 'every byte of the file')
  await countWhileTheLeaderDies(scenario, cluster, clients, watch)
  watch.begin('reading the counters')
  await compareCounters(scenario, clients)
  await compareFile(scenario, clients, watch, sha256, 'every byte of the file after the failover')
  const stats = await Promise.all(clients.map((client) => client.run('stats', undefined)))
  output.print(statsTable(stats))
  for (const client of clients) await client.close()
}

/** Lets both clients read the whole file through mappings at the same time, and compares what they read. */
async function compareFile(
  { options, output }: Scenario,
  clients: readonly ClientProcess[],
  watch: Watch,
  expected: string,
  what: string
): Promise<void> {
  watch.begin('reading the file through two mappings')
  const elapsed = stopwatch()
  const digests = await Promise.all(clients.map((client) => client.run('digest', { path: FILE })))
  output.say(`read ${CLIENTS} x ${mebibytes(options.fileBytes)} in ${rate(CLIENTS * options.fileBytes, elapsed())}`)
  for (const [index, digest] of digests.entries()) {
    output.check(digest === expected, `client ${index + 1} reads ${what}: SHA-256 ${digest.slice(0, 16)}…`)
  }
}

async function countWhileTheLeaderDies(
  { options, output }: Scenario,
  cluster: Cluster,
  clients: readonly ClientProcess[],
  watch: Watch
): Promise<void> {
  const { rounds } = options
  watch.begin(`counting to ${CLIENTS * rounds} in turn`)
  const elapsed = stopwatch()
  let isCounting = true
  const counting = Promise.all(clients.map((client) => client.run('count', { path: COUNTERS, rounds }))).finally(
    () => (isCounting = false)
  )
  const killing = killAndRestart()
  // Waits for both, and reports the first failure.
  await Promise.all([counting, killing])

  async function killAndRestart(): Promise<void> {
    const { kill } = options
    if ('afterMs' in kill) await Promise.race([pause(kill.afterMs), counting])
    else {
      await watch.reached(kill.fraction)
      await pause(kill.extraMs)
    }
    const victim = watch.leader
    const wasCounting = isCounting
    const pid = cluster.kill(victim)
    output.say(`killed the leader ${short(victim)} (pid ${pid}) at ${percent(watch.done)} of the counting`)
    output.check(wasCounting, 'the leader was killed while the clients were counting')
    await pause(AWAY_MS)
    // It stays away until another peer leads, because a peer that returns too early could be elected again.
    const away = stopwatch()
    while (watch.leader === victim && isCounting && away() < CATCH_UP_MS) await pause(POLL_MS)
    const successor = watch.leader
    const restarted = await cluster.restart(victim)
    output.say(`restarted ${short(victim)} from its data directory (pid ${restarted})`)
    await counting
    output.say(`counted ${CLIENTS} x ${2 * rounds} increments in ${(elapsed() / 1000).toFixed(1)} s`)
    output.check(successor !== victim, `another peer took over: ${short(successor)}`)
    await checkCaughtUp(output, cluster, victim)
  }
}

/** Checks that the restarted peer applies all entries that the leader had committed at the end of the counting. */
async function checkCaughtUp(output: Output, cluster: Cluster, peerId: string): Promise<void> {
  const target = (await leaderOf(cluster)).commitIndex ?? Infinity
  const elapsed = stopwatch()
  let applied = 0
  while (applied < target && elapsed() < CATCH_UP_MS) {
    await pause(POLL_MS)
    applied = (await cluster.status()).find((peer) => peer.id === peerId)?.appliedIndex ?? 0
  }
  output.check(applied >= target, `the restarted peer has applied entry ${applied}, the leader had committed ${target}`)
}

async function compareCounters({ options, output }: Scenario, clients: readonly ClientProcess[]): Promise<void> {
  const { rounds } = options
  for (const [index, client] of clients.entries()) {
    const { shared, own } = await client.run('sums', { path: COUNTERS })
    const isExact = shared === CLIENTS * rounds && own.every((sum) => sum === rounds)
    output.check(isExact, `client ${index + 1} sees exact sums: shared ${shared}, own pages ${own.join(' and ')}`)
  }
  const expected = createHash('sha256').update(expectedCounters(rounds)).digest('hex')
  const digests = await Promise.all(clients.map((client) => client.run('digest', { path: COUNTERS })))
  const isSame = digests.every((digest) => digest === expected)
  output.check(isSame, `both clients agree on every byte of the counters (${mebibytes(COUNTERS_BYTES)})`)
}

async function leaderOf(cluster: Cluster): Promise<PeerStatus> {
  const elapsed = stopwatch()
  for (;;) {
    const leaders = (await cluster.status()).filter((peer) => peer.role === 'leader')
    const newest = leaders.sort((a, b) => (b.term ?? 0) - (a.term ?? 0))[0]
    if (newest !== undefined) return newest
    if (elapsed() > CATCH_UP_MS) throw new Error('no peer leads')
    await pause(POLL_MS)
  }
}

function rate(bytes: number, ms: number): string {
  return `${(ms / 1000).toFixed(1)} s, ${(bytes / 2 ** 20 / (ms / 1000)).toFixed(1)} MiB/s`
}

function stopwatch(): () => number {
  const started = performance.now()
  return () => performance.now() - started
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
