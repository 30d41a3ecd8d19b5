/** The commands keygen, id, init and peer. */
import { existsSync, readFileSync, rmSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { randomBytes } from 'node:crypto'
import type { Peer } from '@quire/store'
import {
  createFile,
  formatClusterFile,
  foundingDigest,
  normalizeCluster,
  parseClusterFile,
  type ClusterConfig
} from '@quire/store/internal/cli'
import {
  KeyFileError,
  generatePrivateKey,
  loadPrivateKey,
  parsePeerAddresses,
  peerIdFromKey,
  savePrivateKey
} from '@quire/net'
import { DEFAULT_ROUND_TRIP_MS, FileExistsError, InvalidArgumentError } from '@quire/protocol'
import { Option, type Command } from 'commander'
import {
  createLogger,
  clientsOf,
  fileName,
  namingOptions,
  parseRoundTrip,
  splitIds,
  withJson,
  withLogLevel,
  withStorage,
  type JsonOption,
  type OptionNames,
  type StorageOptions
} from './options.js'
import {
  ExitError,
  UsageError,
  adviseOnVoters,
  flushOutput,
  printFailure,
  printJson,
  printLine,
  printNote,
  whenOutputFails
} from './output.js'

export function addClusterCommands(program: Command): void {
  withJson(program.command('keygen'))
    .description('write a new key for a peer or a client, and print its PeerId')
    .argument('<file>', 'the key file, which must not exist', fileName('file'))
    .action(keygen)

  withJson(program.command('id'))
    .description('print the PeerId of a key')
    .argument('<file>', 'the key file, as keygen writes it', fileName('file'))
    .action(showId)

  withJson(program.command('init'))
    .description('make the cluster file from the addresses of the voters')
    .requiredOption(
      '--voters <items...>',
      'required: one argument per voter: its multiaddr, which ends in /p2p/<PeerId>, or several joined by commas; or a file with one voter per line'
    )
    .requiredOption(
      '--clients <ids...>',
      "required: PeerIds of the clients that may connect, separated by spaces or commas, or 'any'"
    )
    .requiredOption(
      '--admins <ids...>',
      'required: PeerIds that may change the cluster later on, separated by spaces or commas; they may connect as well'
    )
    .option('--cluster-id <name>', 'name of the cluster; default: a random name')
    .addOption(
      new Option('--round-trip <ms>', 'longest round trip between two voters; all timeouts derive from it')
        .argParser((text) => parseRoundTrip('--round-trip', text))
        .default(DEFAULT_ROUND_TRIP_MS)
    )
    .option('--out <file>', 'file to write; default: standard output', fileName('--out'))
    .action(init)

  withStorage(withLogLevel(withJson(program.command('peer')), 'info'))
    .description('run one peer in the foreground until SIGTERM or Ctrl-C')
    .requiredOption(
      '--data-dir <folder>',
      "required: folder for the peer's log and pages; the first start creates it",
      fileName('--data-dir')
    )
    .requiredOption('--key <file>', "required: the peer's key, as keygen writes it", fileName('--key'))
    .requiredOption('--listen <addresses...>', 'required: multiaddrs to listen on, such as /ip4/0.0.0.0/tcp/4001')
    .option(
      '--cluster <file>',
      'the cluster file: the first start needs it, a later start compares it',
      fileName('--cluster')
    )
    .option(
      '--join <addresses...>',
      'multiaddrs of members: the first start waits until an admin has invited this peer (quire members add)'
    )
    .option(
      '--rejoin <directory>',
      "with --join: this data directory of the peer is lost: 'founder', or its incarnation, as messages and members list name it; move away what is left of it, and take the peer's place anew"
    )
    .option('--exit-with-stdin', 'exit when standard input ends')
    .addOption(new Option('--temporary <folder>', 'remove this folder when standard input ends').hideHelp())
    .action(runPeer)
}

async function keygen(file: string, options: JsonOption): Promise<void> {
  const key = await generatePrivateKey()
  try {
    await savePrivateKey(file, key)
  } catch (error) {
    throw error instanceof KeyFileError ? await withOwner(error) : error
  }
  printId(peerIdFromKey(key), file, options)
}

/** Adds the PeerId to the error if the file already holds a key, because the user wants to know it. */
async function withOwner(error: KeyFileError): Promise<KeyFileError> {
  // Reading a pipe without a writer would block.
  const isFile = statSync(error.path, { throwIfNoEntry: false })?.isFile() === true
  const key = isFile ? await loadPrivateKey(error.path).catch(() => undefined) : undefined
  if (key === undefined) return error
  return new KeyFileError(error.path, `${error.reason}; it is the key of ${peerIdFromKey(key)}`, { cause: error })
}

async function showId(file: string, options: JsonOption): Promise<void> {
  printId(peerIdFromKey(await loadPrivateKey(file)), file, options)
}

function printId(peerId: string, file: string, options: JsonOption): void {
  if (options.json === true) printJson({ peerId, file })
  else printLine(peerId)
}

interface InitOptions extends JsonOption {
  readonly voters: readonly string[]
  readonly clients: readonly string[]
  readonly admins: readonly string[]
  readonly clusterId?: string
  readonly roundTrip: number
  readonly out?: string
}

const INIT_OPTIONS: OptionNames = {
  clusterId: '--cluster-id',
  voters: '--voters',
  addresses: '--voters',
  admins: '--admins',
  clients: '--clients'
}

/** `init` found a file at `--out`. The message is the one that keygen gives. */
class KeptFileError extends FileExistsError {
  override readonly message: string
  constructor(path: string) {
    super(path)
    this.message = `${path}: the file exists and is not overwritten`
  }
}

async function init(options: InitOptions): Promise<void> {
  const { voters, clients, admins, clusterId = `quire-${randomBytes(6).toString('hex')}`, out } = options
  const { roundTrip: roundTripMs } = options
  const addresses = new Map<string, string[]>()
  for (const item of voters.flatMap(readVoters)) {
    const { peerId, list } = parseVoter(item)
    if (addresses.has(peerId)) {
      throw new UsageError(`--voters: ${peerId} is named twice; join the addresses of one voter with commas`)
    }
    addresses.set(peerId, list)
  }
  const config: ClusterConfig = {
    clusterId,
    voters: [...addresses].map(([peerId, list]) => ({ peerId, addresses: list })),
    admins: splitIds(admins),
    clients: clientsOf(clients),
    roundTripMs
  }
  const text = await namingOptions(INIT_OPTIONS, () => formatClusterFile(config))
  const founding = foundingDigest(normalizeCluster(config))
  if (out === undefined) {
    if (options.json === true) printJson({ clusterId, founding, file: null, cluster: JSON.parse(text) as unknown })
    else printLine(text.trimEnd())
    const failure = await flushOutput()
    if (failure !== undefined) throw failure
    // Without --json, standard output carries the file alone.
    if (options.json !== true) printNote(`founding digest ${founding}`)
    adviseOnVoters(addresses.size)
    return
  }
  try {
    createFile(out, text, 0o644)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST') throw new KeptFileError(out)
    throw new Error(`${out}: cannot be written (${code})`, { cause: error })
  }
  adviseOnVoters(addresses.size)
  if (options.json === true) printJson({ clusterId, founding, file: out })
  else printLine(`cluster id       ${clusterId}\nfounding digest  ${founding}`)
}

/** Parses one voter with all of its addresses. */
function parseVoter(item: string): { peerId: string; list: string[] } {
  const parsed = parsePeerAddresses(item, '--voters')
  const { peerId } = parsed[0]!
  const other = parsed.find((each) => each.peerId !== peerId)
  if (other !== undefined) {
    throw new UsageError(`--voters: ${peerId} and ${other.peerId} are two voters: pass them as separate arguments`)
  }
  return { peerId, list: parsed.map(({ address }) => address) }
}

function readVoters(item: string): string[] {
  // Also for a malformed multiaddr, whose own error says more than that no file has this name.
  if (/^\/(ip4|ip6|dns|dns4|dns6)\/|\/p2p\//.test(item) && !existsSync(item)) return [item]
  const voters = readText(item)
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
  if (voters.length === 0) throw new UsageError(`--voters: ${item} names no voter`)
  return voters
}

interface PeerOptions extends JsonOption, StorageOptions {
  readonly dataDir: string
  readonly key: string
  readonly listen: readonly string[]
  readonly cluster?: string
  readonly join?: readonly string[]
  readonly rejoin?: string
  readonly exitWithStdin?: boolean
  readonly temporary?: string
  readonly logLevel: string
}

const PEER_OPTIONS: OptionNames = {
  join: '--join',
  rejoins: '--rejoin',
  dataDir: '--data-dir',
  privateKey: '--key',
  listen: '--listen',
  retainedLogBytes: '--retained-log',
  snapshotBytesPerSecond: '--snapshot-rate',
  scrubIntervalMs: '--scrub-interval',
  scrubBytesPerSecond: '--scrub-rate'
}

async function runPeer(options: PeerOptions): Promise<void> {
  const privateKey = await loadPrivateKey(options.key)
  const stop = stopRequests(options.exitWithStdin === true)
  let failure: Error | undefined
  let stopFailed = (): void => {}
  const failed = new Promise<void>((resolve) => {
    stopFailed = resolve
  })
  if (options.rejoin !== undefined && options.join === undefined) throw new UsageError('--rejoin needs --join')
  const cluster = options.cluster === undefined ? undefined : readCluster(options.cluster)
  const join = options.join && { members: splitIds(options.join), rejoins: options.rejoin }
  const waiting = new AbortController()
  void stop.then(() => waiting.abort())
  // Only this command waits for the modules of a peer to load.
  const { createPeer } = await import('@quire/store')
  const peer = await namingOptions(PEER_OPTIONS, () =>
    createPeer({
      dataDir: options.dataDir,
      privateKey,
      listen: options.listen,
      cluster,
      join,
      signal: waiting.signal,
      retainedLogBytes: options.retainedLog,
      snapshotBytesPerSecond: options.snapshotRate,
      scrubIntervalMs: options.scrubInterval,
      scrubBytesPerSecond: options.scrubRate,
      logger: createLogger(options.logLevel),
      onFatal: (error) => {
        failure = error
        stopFailed()
      }
    })
  ).catch((error: unknown) => {
    // A signal has ended the wait for an invitation.
    if (waiting.signal.aborted) return undefined
    throw error
  })
  if (peer === undefined) return
  announce(peer, options)
  const reason = await Promise.race([stop, failed, whenOutputFails()]).finally(() => peer.close())
  // The parent was killed before it could remove the folder. Its other peers are exiting, too.
  if (reason === 'parent' && options.temporary !== undefined)
    rmSync(options.temporary, { recursive: true, force: true })
  if (failure !== undefined) {
    printFailure(failure)
    throw new ExitError(1)
  }
}

function announce(peer: Peer, { json, dataDir }: PeerOptions): void {
  const peerId = peer.peerId.toString()
  if (json === true)
    printJson({
      peerId,
      multiaddr: peer.multiaddrs[0],
      multiaddrs: peer.multiaddrs,
      pid: process.pid,
      dataDir: resolve(dataDir)
    })
  else for (const address of peer.multiaddrs) printLine(address)
}

/**
 * Resolves at the first signal; a second signal ends the process at once. With `parent`, it also resolves when standard
 * input ends: the parent holds the other end of that pipe and writes nothing, so the pipe ends when the parent dies.
 */
export function stopRequests(parent: boolean): Promise<'signal' | 'parent'> {
  return new Promise((resolve) => {
    let asked = false
    const ask = (): void => {
      // A signal to a whole process group reaches a child twice: directly and through its parent.
      if (asked && !parent) process.exit(1)
      asked = true
      resolve('signal')
    }
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, ask)
    if (!parent) return
    const gone = (): void => resolve('parent')
    process.stdin.on('end', gone).on('error', gone).resume()
  })
}

export function readCluster(file: string): ClusterConfig {
  const text = readText(file)
  try {
    const config = parseClusterFile(text, file)
    normalizeCluster(config)
    return config
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error
    const { argument, expected } = error
    // The fault is in a field of the file, so the message names both.
    const problem = argument === 'cluster file' ? expected : `a valid cluster file: ${error.message}`
    throw new InvalidArgumentError('--cluster', file, problem)
  }
}

/** Reads a file that an option names. A failure is bad usage. */
function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new UsageError(`${file}: cannot be read (${(error as NodeJS.ErrnoException).code})`)
  }
}
