/** `quire doctor`: measures this machine, and says what would be wrong for a peer and what to do about it. */
import { ListenError, parseListenAddress } from '@quire/net'
import { NotAuthorizedError } from '@quire/protocol'
import {
  checkListen,
  descriptors,
  foundingDigest,
  inspectDataDirectory,
  normalizeCluster,
  temporaryBeside,
  type ClusterConfig
} from '@quire/store/internal/cli'
import type { Command } from 'commander'
import { constants, readFileSync, statfsSync, statSync, unlinkSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { connect } from 'node:net'
import { dirname, join, resolve } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { readCluster } from './cluster-commands.js'
import {
  checkClock,
  checkDataDirectory,
  checkDisk,
  checkListenAddress,
  checkNode,
  checkOpenFiles,
  checkVoterAddress,
  notChecked,
  type ClockSample,
  type DialFacts,
  type DiskFacts,
  type Finding
} from './doctor-checks.js'
import { fileName, withJson, type JsonOption } from './options.js'
import { COLUMNS, wrap } from './layout.js'
import { ExitError, printFailure, printJson, printLine } from './output.js'
import { createProbe, reasonOf } from './probe.js'
import { PACKAGE_FOLDER } from './version.js'
import { showControls } from './visible.js'

interface DoctorOptions extends JsonOption {
  readonly dataDir?: string
  readonly listen?: readonly string[]
  readonly cluster?: string
}

export function addDoctorCommand(program: Command): void {
  withJson(program.command('doctor'))
    .description('check this machine for a peer: what is wrong, and the remedy; exit status 1 when there is a problem')
    .option(
      '--data-dir <folder>',
      'whether a peer can use the folder, which need not exist, and how fast its disk flushes',
      fileName('--data-dir')
    )
    .option('--listen <addresses...>', 'whether a peer can listen on these multiaddrs')
    .option(
      '--cluster <file>',
      'whether the voters of this cluster file answer, and whether the data directory is of this cluster',
      fileName('--cluster')
    )
    .action(runDoctor)
}

async function runDoctor(options: DoctorOptions): Promise<void> {
  const { dataDir, cluster } = options
  // Bad usage ends before anything is measured.
  const listen = options.listen?.map((address) => parseListenAddress(address, '--listen'))
  const config = cluster === undefined ? undefined : clusterOf(cluster)
  const { engines } = JSON.parse(readFileSync(join(PACKAGE_FOLDER, 'package.json'), 'utf8')) as {
    engines: { node: string }
  }
  // The clock is watched while the processor is otherwise idle.
  const clock = checkClock(await watchClock())
  const findings = [
    checkNode(process.versions.node, engines.node),
    checkOpenFiles(descriptors()),
    clock,
    ...(dataDir === undefined
      ? [notChecked('data dir', '--data-dir'), notChecked('disk', '--data-dir')]
      : [inspect(resolve(dataDir), config), checkDisk(await measureDisk(resolve(dataDir)))]),
    ...(listen === undefined ? [notChecked('listen', '--listen')] : await tryListening(listen)),
    ...(config === undefined ? [notChecked('cluster', '--cluster')] : await dialVoters(config))
  ]
  for (const each of findings) {
    if (options.json === true) printJson(each)
    else for (const line of findingLines(each)) printLine(line)
  }
  const problems = findings.filter(({ verdict }) => verdict === 'problem').length
  if (problems === 0) return
  printFailure(problems === 1 ? '1 problem found' : `${problems} problems found`)
  throw new ExitError(1)
}

const VERDICT_COLUMNS = 13
const CHECK_COLUMNS = 12

/** At most 80 columns each. */
export function findingLines({ check, verdict, found, remedy }: Finding): string[] {
  const start = verdict.padEnd(VERDICT_COLUMNS) + check.padEnd(CHECK_COLUMNS)
  const texts = remedy === null ? [found] : [found, remedy]
  const lines = texts.flatMap((text) => wrap(showControls(text), COLUMNS - start.length).split('\n'))
  return lines.map((line, i) => (i === 0 ? start : ' '.repeat(start.length)) + line)
}

const CLOCK_SAMPLES = 20
const CLOCK_PAUSE_MS = 50

async function watchClock(): Promise<ClockSample[]> {
  const samples: ClockSample[] = []
  for (let i = 0; i < CLOCK_SAMPLES; i++) {
    if (i > 0) await setTimeout(CLOCK_PAUSE_MS)
    samples.push({ monotonic: performance.now(), wall: Date.now() })
  }
  return samples
}

/** Checks the folder as the start of a peer does. */
function inspect(path: string, cluster: Cluster | undefined): Finding {
  try {
    return checkDataDirectory(path, inspectDataDirectory(path, cluster))
  } catch (error) {
    // The message of a refusal begins with the id of the peer, which the operator did not ask for.
    const { message } = error as Error
    return checkDataDirectory(path, undefined, error instanceof NotAuthorizedError ? error.reason : message)
  }
}

/** The measurement writes as the log does: whole sectors of an allocated file, each durable when its call returns. */
const FLUSHES = 50
const FLUSH_BYTES = 4096
const FLUSH_BUDGET_MS = 2000
const MEMORY_FILE_SYSTEMS: readonly number[] = [0x0102_1994, 0x8584_58f6]

async function measureDisk(path: string): Promise<DiskFacts> {
  let folder = path
  while (!exists(folder) && folder !== dirname(folder)) folder = dirname(folder)
  try {
    const flushesMs = await timeFlushes(folder)
    return { folder, inMemory: MEMORY_FILE_SYSTEMS.includes(statfsSync(folder).type), flushesMs }
  } catch (error) {
    return { folder, inMemory: false, flushesMs: [], failure: codeOf(error) }
  }
}

async function timeFlushes(folder: string): Promise<number[]> {
  const { O_CREAT, O_EXCL, O_RDWR, O_DSYNC } = constants
  const path = temporaryBeside(join(folder, 'flush'))
  const file = await open(path, O_CREAT | O_EXCL | O_RDWR | O_DSYNC, 0o600)
  try {
    // A file without a name blocks no peer that starts in the folder, and nothing is left of it.
    unlinkSync(path)
    await file.write(new Uint8Array(FLUSHES * FLUSH_BYTES))
    const sector = new Uint8Array(FLUSH_BYTES).fill(1)
    const times: number[] = []
    const start = performance.now()
    for (let i = 0; i < FLUSHES && performance.now() - start < FLUSH_BUDGET_MS; i++) {
      const before = performance.now()
      await file.write(sector, 0, FLUSH_BYTES, i * FLUSH_BYTES)
      times.push(performance.now() - before)
    }
    return times
  } finally {
    await file.close()
  }
}

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined
}

async function tryListening(addresses: readonly string[]): Promise<Finding[]> {
  const findings: Finding[] = []
  for (const address of addresses) {
    try {
      await checkListen([address])
      findings.push(checkListenAddress(address, undefined))
    } catch (error) {
      if (!(error instanceof ListenError)) throw error
      findings.push(checkListenAddress(address, codeOf(error.cause)))
    }
  }
  return findings
}

interface Cluster {
  readonly clusterId: string
  /** The founding digest. */
  readonly digest: string
  readonly voters: ClusterConfig['voters']
}

function clusterOf(file: string): Cluster {
  const config = readCluster(file)
  return { clusterId: config.clusterId, digest: foundingDigest(normalizeCluster(config)), voters: config.voters }
}

const DIAL_TIMEOUT_MS = 5000

function dialVoters({ digest, voters }: Cluster): Promise<Finding[]> {
  const places = voters.flatMap(({ peerId, addresses }) =>
    addresses.map((address) => ({ peerId: String(peerId), address }))
  )
  return Promise.all(places.map(async (place) => checkVoterAddress(await tryDialing(place, digest))))
}

async function tryDialing(place: DialFacts, digest: string): Promise<DialFacts> {
  const code = await tryConnecting(place.address)
  if (code !== undefined) return { ...place, code }
  // One for each address, because a probe asks over the connection that it already has.
  const probe = await createProbe()
  try {
    // Noise proves that the remote is this peer.
    const { answer } = await probe.status(place.peerId, [place.address], DIAL_TIMEOUT_MS)
    if (answer.founding === digest) return place
    return { ...place, reason: `it was founded from another cluster file, of cluster ${answer.clusterId}` }
  } catch (error) {
    // The peer has proved its identity before it refuses this command, whose identity is in no list.
    return error instanceof NotAuthorizedError ? place : { ...place, reason: reasonOf(error as Error) }
  } finally {
    await probe.close()
  }
}

/** Returns the system's code when nothing accepts connections there. */
async function tryConnecting(address: string): Promise<string | undefined> {
  const [, , host = '', , port = ''] = address.split('/')
  const socket = connect({ host, port: Number(port) })
  const code = await new Promise<string | undefined>((done) => {
    socket.once('connect', () => done(undefined)).once('error', (error) => done(codeOf(error)))
    socket.setTimeout(DIAL_TIMEOUT_MS, () => done('ETIMEDOUT'))
  })
  socket.destroy()
  return code
}

/** The system's code, also of an error that stands for a failed attempt at each of several addresses. */
function codeOf(error: unknown): string {
  const { code, errors } = error as NodeJS.ErrnoException & { errors?: readonly unknown[] }
  return code ?? (errors?.[0] === undefined ? String(error) : codeOf(errors[0]))
}
