/** The checks of `quire doctor`: each one turns measured facts into a finding. */
import { hostAndPort, shortId } from '@quire/net'
import {
  DescriptorLimitError,
  WANTED_CONNECTIONS,
  limitConnections,
  type DataDirectoryOwner,
  type Descriptors
} from '@quire/store/internal/cli'
import { LEAST_OPEN_FILES } from './open-files.js'

/** A `problem` keeps a peer from working, a `warning` makes it slower or smaller than it could be. */
export type Verdict = 'ok' | 'warning' | 'problem' | 'not checked'

export interface Finding {
  readonly check: 'node' | 'open files' | 'clock' | 'data dir' | 'disk' | 'listen' | 'cluster'
  readonly verdict: Verdict
  readonly found: string
  /** What the operator can do about it; null where nothing needs to be done. */
  readonly remedy: string | null
}

type Check = Finding['check']

const finding = (check: Check, verdict: Verdict, found: string, remedy: string | null = null): Finding => ({
  check,
  verdict,
  found,
  remedy
})

export function notChecked(check: Check, option: string): Finding {
  return finding(check, 'not checked', `give ${option} to check it`)
}

/** `engines` is the range that a package.json names, such as `>=20.19`. */
export function checkNode(version: string, engines: string): Finding {
  const least = engines.replace(/^\D*/, '')
  const [major = 0, minor = 0] = version.split('.').map(Number)
  const [leastMajor = 0, leastMinor = 0] = least.split('.').map(Number)
  if (major > leastMajor || (major === leastMajor && minor >= leastMinor)) return finding('node', 'ok', version)
  return finding('node', 'problem', `${version} is too old`, `Install Node ${least} or later.`)
}

const RAISE_LIMIT = 'Raise the limit of open files: ulimit -Hn in a shell, LimitNOFILE= in a unit of systemd.'

export function checkOpenFiles({ limit, open }: Descriptors): Finding {
  if (limit < LEAST_OPEN_FILES) {
    const found = `the limit is ${limit}, quire needs at least ${LEAST_OPEN_FILES}`
    return finding('open files', 'problem', found, RAISE_LIMIT)
  }
  const wanted = WANTED_CONNECTIONS.maxConnections
  try {
    const { maxConnections } = limitConnections({ limit, open }, WANTED_CONNECTIONS)
    const text = limit === Infinity ? 'no limit' : `the limit is ${limit}`
    if (maxConnections >= wanted) return finding('open files', 'ok', text)
    return finding('open files', 'warning', `${text}: room for ${maxConnections} of ${wanted} connections`, RAISE_LIMIT)
  } catch (error) {
    if (!(error instanceof DescriptorLimitError)) throw error
    const found = `the limit is ${error.limit}, a peer needs at least ${error.needed}`
    return finding('open files', 'problem', found, RAISE_LIMIT)
  }
}

/** Both clocks at one instant, in milliseconds. */
export interface ClockSample {
  readonly monotonic: number
  readonly wall: number
}

/** A smaller step may be this process waiting for the processor between the two readings. */
const LEAST_STEP_MS = 100
/** Leases allow for clocks that differ by one percent (the client's `lease.ts`). */
const MAX_DRIFT = 0.01
/** Before the first release of Quire: a machine without a battery for its clock wakes up in 1970. */
const EARLIEST = Date.UTC(2025, 0, 1)
const STEER_CLOCK =
  'Let one time service (chrony, systemd-timesyncd) run on the machine, and set the clock before Quire starts.'

/** Leases count on the monotonic clock. The wall clock is in the times of files and in log lines, and nowhere else. */
export function checkClock(samples: readonly ClockSample[]): Finding {
  const [first, last] = [samples[0]!, samples.at(-1)!]
  if (last.wall < EARLIEST) {
    return finding('clock', 'warning', `it says ${new Date(last.wall).toISOString()}`, STEER_CLOCK)
  }
  const elapsed = last.monotonic - first.monotonic
  const backwards = samples.some(({ monotonic }, i) => i > 0 && monotonic < samples[i - 1]!.monotonic)
  if (backwards || elapsed <= 0) {
    const remedy = 'Do not run a peer or a client here: leases depend on this clock.'
    return finding('clock', 'problem', 'the monotonic clock stands still or goes back', remedy)
  }
  const offsets = samples.map(({ monotonic, wall }) => wall - monotonic)
  const steps = offsets.slice(1).map((offset, i) => offset - offsets[i]!)
  const step = steps.reduce((largest, each) => (Math.abs(each) > Math.abs(largest) ? each : largest), 0)
  if (Math.abs(step) >= LEAST_STEP_MS) {
    const found = `the wall clock jumped by ${Math.round(step)} ms while it was watched`
    return finding('clock', 'warning', found, STEER_CLOCK)
  }
  const drift = (offsets.at(-1)! - offsets[0]!) / elapsed
  if (Math.abs(drift) > MAX_DRIFT) {
    const found = `wall and monotonic clock differ by ${(Math.abs(drift) * 100).toFixed(1)} % in their rates`
    return finding('clock', 'problem', found, 'Have the clock of the machine, or of its hypervisor, repaired.')
  }
  return finding('clock', 'ok', `no jump in ${Math.round(elapsed)} ms`)
}

const OTHER_FOLDER = 'Name the data directory of this peer, or a folder that is empty or does not exist yet.'

/** `owner` is undefined if the folder is free for a first start. `failure` says why no peer can start there. */
export function checkDataDirectory(path: string, owner?: DataDirectoryOwner, failure?: string): Finding {
  if (failure !== undefined) return finding('data dir', 'problem', failure, OTHER_FOLDER)
  if (owner === undefined) return finding('data dir', 'ok', `${path} is free for a first start`)
  return finding('data dir', 'ok', `${path}: ${shortId(owner.peerId)} in cluster ${owner.clusterId}`)
}

export interface DiskFacts {
  /** The folder that was asked for, or the nearest parent that exists. */
  readonly folder: string
  /** It is kept in memory (tmpfs, ramfs). */
  readonly inMemory: boolean
  /** How long each durable write took; empty after a failure. */
  readonly flushesMs: readonly number[]
  /** The system's code when the folder cannot be written. */
  readonly failure?: string
}

/** A write waits for the flushes of two peers. From here on the disk, not the network, decides how long. */
const SLOW_FLUSH_MS = 20

const DISK_REMEDIES: Readonly<Record<string, string>> = {
  ENOSPC: 'Make room on the disk.',
  EDQUOT: 'Raise the quota of the user, or make room.',
  EROFS: 'Mount the file system for writing.',
  EACCES: 'Give the user that runs the peer write access to the folder.',
  EPERM: 'Give the user that runs the peer write access to the folder.'
}

export function checkDisk({ folder, inMemory, flushesMs, failure }: DiskFacts): Finding {
  if (failure !== undefined) {
    const remedy = DISK_REMEDIES[failure] ?? 'Check the disk, or choose another data directory.'
    return finding('disk', 'problem', `${folder} cannot be written (${failure})`, remedy)
  }
  if (inMemory) {
    const remedy = 'Choose a data directory on a disk.'
    return finding('disk', 'warning', `${folder} is in memory: a power failure takes it all`, remedy)
  }
  const sorted = flushesMs.toSorted((a, b) => a - b)
  const [median, worst] = [sorted[sorted.length >> 1]!, sorted.at(-1)!]
  const found = `${folder}: a flush takes ${formatMs(median)} ms, ${formatMs(worst)} ms at worst`
  if (median <= SLOW_FLUSH_MS) return finding('disk', 'ok', found)
  return finding('disk', 'warning', found, 'Put the data directory on a faster disk: every write waits for its flush.')
}

function formatMs(ms: number): string {
  return ms < 10 ? ms.toFixed(2) : ms.toFixed(0)
}

const LISTEN_PROBLEMS: Readonly<Record<string, readonly [problem: string, remedy: string]>> = {
  EADDRINUSE: [
    'another program listens there',
    'Stop that program, or choose another port. A peer that runs already needs no other.'
  ],
  EADDRNOTAVAIL: [
    'this machine does not have the address',
    'Name an address of this machine, or /ip4/0.0.0.0 for all of them.'
  ],
  EACCES: ['the system does not permit it', 'Choose a port from 1024 on.'],
  ENOTFOUND: ['the host name is unknown', 'Name an address instead, or correct the name.']
}

/** `code` is the system's, undefined when the address could be bound. */
export function checkListenAddress(address: string, code: string | undefined): Finding {
  if (code === undefined) return finding('listen', 'ok', `${address} is free`)
  const [problem, remedy] = LISTEN_PROBLEMS[code] ?? [code, 'Choose another address.']
  return finding('listen', 'problem', `${address}: ${problem}`, remedy)
}

/** One address of a voter, and why the voter did not answer there. */
export interface DialFacts {
  readonly peerId: string
  readonly address: string
  /** The system's code when nothing accepts connections there. */
  readonly code?: string
  /** Why the voter is not there although something accepts connections, in a few words. */
  readonly reason?: string
}

const DIAL_PROBLEMS: Readonly<Record<string, readonly [problem: string, remedy: string]>> = {
  ENOTFOUND: ['the host name is unknown', 'Correct the name in the cluster file, or in the name service.'],
  EAI_AGAIN: ['the name service does not answer', 'Check the name service of this machine.']
}
const CHECK_ROUTE = 'Check that the machine runs, and that routes and firewalls let connections to this port pass.'

const CHECK_PLACE = 'Check which program listens there, and compare its PeerId and cluster file with this one.'

export function checkVoterAddress({ peerId, address, code, reason }: DialFacts): Finding {
  const place = `${shortId(peerId)} at ${hostAndPort(address)}`
  if (reason !== undefined) return finding('cluster', 'problem', `${place}: ${reason}`, CHECK_PLACE)
  if (code === undefined) return finding('cluster', 'ok', `${place} is there`)
  // The machine answers. Before the first start of a cluster, no peer listens yet.
  if (code === 'ECONNREFUSED')
    return finding('cluster', 'warning', `${place}: nothing listens`, 'Start the peer there.')
  const [problem, remedy] = DIAL_PROBLEMS[code] ?? [`no connection (${code})`, CHECK_ROUTE]
  return finding('cluster', 'problem', `${place}: ${problem}`, remedy)
}
