import type { DsmClient } from '@quire/dsm-client'
import { loadPrivateKey, parsePeerAddresses, type PrivateKey } from '@quire/net'
import {
  InvalidArgumentError,
  MAX_ROUND_TRIP_MS,
  MIN_ROUND_TRIP_MS,
  NotAuthorizedError,
  refusePath,
  refusePrefix
} from '@quire/protocol'
import { Option, type Command } from 'commander'
import { setTimeout } from 'node:timers/promises'
import pino, { type Logger } from 'pino'
import { NO_ADMIN, UNLISTED } from '@quire/store/internal/cli'
import { InterruptedError, UsageError } from './output.js'
import { parseSize } from './sizes.js'
import { showControls } from './visible.js'

export interface JsonOption {
  readonly json?: boolean
}

export interface ClusterOptions extends JsonOption {
  readonly peers?: readonly string[]
  readonly key?: string
  /** The founding digest of the cluster. */
  readonly cluster?: string
  /** Milliseconds. */
  readonly timeout?: number
}

export interface StorageOptions {
  /** Bytes. */
  readonly retainedLog?: number
  /** Bytes in a second. */
  readonly snapshotRate?: number
  /** Milliseconds; Infinity: never. */
  readonly scrubInterval?: number
  /** Bytes in a second. */
  readonly scrubRate?: number
}

const NO_PEERS = 'no peers: give --peers or set QUIRE_PEERS'

const LOG_LEVELS = ['silent', 'fatal', 'error', 'warn', 'info', 'debug', 'trace'] as const

export function withJson(command: Command): Command {
  return command.option('--json', 'print JSON, one value per line')
}

/** The options of every command that talks to a cluster. */
export function withCluster(command: Command): Command {
  return withJson(command)
    .addOption(
      new Option(
        '--peers <addresses>',
        'multiaddrs that end in /p2p/<PeerId>, separated by commas or white space; one that answers is enough'
      )
        .env('QUIRE_PEERS')
        .argParser(parsePeers)
    )
    .option('--key <file>', 'key file of this client; default: a fresh identity (env: QUIRE_KEY)', fileName('--key'))
    .addOption(
      new Option('--cluster <digest>', 'founding digest that init prints; peers of other clusters are not used')
        .env('QUIRE_CLUSTER')
        .argParser(parseDigest)
    )
    .option(
      '--timeout <duration>',
      'how long each step may wait for the cluster: seconds, or a number with a unit such as 500ms or 2m; default: 30, for status and health 10',
      parseDuration
    )
}

/** A command that talks to a cluster about one stored file, its first argument. */
export function withStoredFile(command: Command): Command {
  return withCluster(command).argument('<path>', 'the path of the stored file', storedPath('path'))
}

export function withLogLevel(command: Command, level: (typeof LOG_LEVELS)[number]): Command {
  const option = new Option('--log-level <level>', 'level of the log on stderr').choices(LOG_LEVELS).default(level)
  return command.addOption(option.argParser(parseLevel))
}

/** The options of a command that runs peers. */
export function withStorage(command: Command): Command {
  return command
    .option(
      '--retained-log <size>',
      'newest part of the log to keep for peers that are a little behind, such as 512KiB or 1GiB; default: 64MiB',
      parseSize('--retained-log')
    )
    .option(
      '--snapshot-rate <size>',
      'bytes of snapshots that this peer sends per second, to all others together; default: 64MiB',
      parseSize('--snapshot-rate')
    )
    .option(
      '--scrub-interval <duration>',
      "how often all peers check their stored data and compare it, when this peer leads, such as 10m or 24h; 'never': not at all; default: 1h",
      parseInterval
    )
    .option(
      '--scrub-rate <size>',
      'bytes of stored data that this peer reads per second for such a check; default: 32MiB',
      parseSize('--scrub-rate')
    )
}

/** Bytes of the log that are kept in memory while it cannot be written. Further lines are dropped. */
const MAX_LOG_BACKLOG_BYTES = 1024 * 1024

export function createLogger(level: string): Logger {
  const destination = pino.destination({ dest: 2, sync: true, maxLength: MAX_LOG_BACKLOG_BYTES })
  // A full disk under the log must not end a peer.
  destination.on('error', () => {})
  // Only the line feed at the end stays as it is: a line quotes remote text, and often goes to a terminal.
  const streamWrite = (line: string): string => showControls(line.trimEnd()) + '\n'
  return pino({ level, base: null, hooks: { streamWrite } }, destination)
}

/** Names of options by the API field that each of them fills. */
export type OptionNames = Readonly<Record<string, string>>

/** Runs `use`. An InvalidArgumentError from it names the option that the user typed, not the API field. */
export async function namingOptions<T>(options: OptionNames, use: () => T | Promise<T>): Promise<T> {
  try {
    return await use()
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error
    const { argument, value, expected } = error
    throw new InvalidArgumentError(options[argument] ?? argument, value, expected)
  }
}

export function peersOf(options: ClusterOptions): readonly string[] {
  if (options.peers === undefined) throw new UsageError(NO_PEERS)
  return options.peers
}

export async function keyOf(options: ClusterOptions): Promise<PrivateKey | undefined> {
  // An empty variable counts as unset, as is usual in shells. An empty --key is a mistake.
  const file = options.key ?? (process.env['QUIRE_KEY'] || undefined)
  return file === undefined ? undefined : loadPrivateKey(file)
}

/** A cluster refused a command without a key. No cluster can list a fresh identity, so the message points to keys. */
class FreshIdentityError extends NotAuthorizedError {
  override readonly message: string
  constructor({ who, reason }: NotAuthorizedError, owner: KeyOwner) {
    super(who, reason)
    const [problem] = reason.replace(/^it /, 'which ').split(';')
    const remedy = `use the key of ${owner} (--key FILE or QUIRE_KEY)`
    this.message = `this command has a fresh identity (${who}), ${problem}; ${remedy}`
  }
}

/** Whose key a command needs. */
export type KeyOwner = 'a listed client' | 'an admin'

/** Returns the error to report for `error`: a refusal of a command without `key` says whose key the command needs. */
export function explainRefusal(
  error: unknown,
  key: PrivateKey | undefined,
  owner: KeyOwner = 'a listed client'
): unknown {
  if (key !== undefined || !(error instanceof NotAuthorizedError)) return error
  const isUnlisted = error.reason.startsWith(UNLISTED) || error.reason === NO_ADMIN
  return isUnlisted ? new FreshIdentityError(error, owner) : error
}

const CLIENT_OPTIONS: OptionNames = {
  peers: '--peers',
  privateKey: '--key',
  cluster: '--cluster',
  faultTimeoutMs: '--timeout'
}

/** How long a command that failed waits for the cluster to take note that its client leaves. */
const CLOSE_TIMEOUT_MS = 1000

/** Runs `use` with a client, whose session always ends. Rejects with InterruptedError on SIGINT or SIGTERM. */
export async function withClient<T>(options: ClusterOptions, use: (client: DsmClient) => Promise<T>): Promise<T> {
  const interruption = watchForInterruption()
  try {
    const privateKey = await keyOf(options)
    const init = {
      peers: peersOf(options),
      privateKey,
      ...(options.cluster === undefined || options.cluster === '' ? {} : { cluster: options.cluster }),
      ...(options.timeout === undefined ? {} : { faultTimeoutMs: options.timeout })
    }
    // Bad usage has failed by now, without waiting for the client's modules to load.
    const connecting = import('@quire/dsm-client')
      .then(({ createDsmClient }) => namingOptions(CLIENT_OPTIONS, () => createDsmClient(init)))
      .catch((error: unknown) => {
        throw explainRefusal(error, privateKey)
      })
    const client = await Promise.race([connecting, interruption.promise])
    const using = use(client)
    let result: T
    try {
      result = await Promise.race([using, interruption.promise])
    } catch (error) {
      await client.close({ signal: AbortSignal.timeout(CLOSE_TIMEOUT_MS) }).catch(ignore)
      // The closed client fails whatever `use` awaits, so `use` cleans up. Only a slow reader of its output can delay
      // that.
      await Promise.race([using.catch(ignore), setTimeout(CLOSE_TIMEOUT_MS)])
      throw error
    }
    await client.close()
    return result
  } finally {
    interruption.stop()
  }
}

function ignore(): void {
  // An earlier error is the one to report.
}

/** Returns a promise that rejects with InterruptedError when SIGINT or SIGTERM arrives. */
function watchForInterruption(): { readonly promise: Promise<never>; stop(): void } {
  let interrupt: (signal: 'SIGINT' | 'SIGTERM') => void
  const promise = new Promise<never>((_, reject) => {
    interrupt = (signal) => reject(new InterruptedError(signal))
    process.once('SIGINT', interrupt).once('SIGTERM', interrupt)
  })
  promise.catch(() => {}) // A signal may arrive after the last race.
  return { promise, stop: () => void process.off('SIGINT', interrupt).off('SIGTERM', interrupt) }
}

// Argument parsers for commander. They throw InvalidArgumentError, as the API does, so that all messages read alike.

/** Parses the name of a local file or folder. The empty name would mean the working directory. */
export function fileName(argument: string): (text: string) => string {
  return (text) => {
    if (text === '') throw new InvalidArgumentError(argument, text, 'a name')
    return text
  }
}

/** Parses the path of a stored file, so that a bad path fails before the client connects. */
export function storedPath(argument: string): (text: string) => string {
  return (text) => checked(text, argument, refusePath(text))
}

/** Parses a prefix of paths. */
export function parsePrefix(text: string): string {
  return checked(text, 'prefix', refusePrefix(text))
}

function checked(text: string, argument: string, refusal: InvalidArgumentError | undefined): string {
  if (refusal === undefined) return text
  throw new InvalidArgumentError(argument, refusal.value, refusal.expected)
}

/** Splits PeerIds at commas and white space, as addresses are split. */
export function splitIds(items: readonly string[]): string[] {
  return items.flatMap((item) => {
    const ids = item.split(/[\s,]+/).filter((id) => id !== '')
    // An item without an id stays as it is, so that the option's check refuses it by name.
    return ids.length === 0 ? [item] : ids
  })
}

/** Parses the value of --clients. */
export function clientsOf(items: readonly string[]): readonly string[] | 'any' {
  const ids = splitIds(items)
  if (!ids.includes('any')) return ids
  if (ids.length > 1) throw new UsageError("--clients: 'any' lets in all clients, so name no other")
  return 'any'
}

export function parseRoundTrip(argument: string, text: string): number {
  const ms = Number(text)
  if (Number.isInteger(ms) && ms >= MIN_ROUND_TRIP_MS && ms <= MAX_ROUND_TRIP_MS) return ms
  const expected = `whole milliseconds from ${MIN_ROUND_TRIP_MS} to ${MAX_ROUND_TRIP_MS}`
  throw new InvalidArgumentError(argument, text, expected)
}

function parseDigest(text: string): string {
  // An empty QUIRE_CLUSTER counts as unset.
  if (text === '' || /^[0-9a-f]{64}$/.test(text)) return text
  throw new InvalidArgumentError(
    '--cluster (or QUIRE_CLUSTER)',
    text,
    'a founding digest: 64 hexadecimal digits, as quire init prints it'
  )
}

function parseLevel(text: string): string {
  if ((LOG_LEVELS as readonly string[]).includes(text)) return text
  throw new InvalidArgumentError('--log-level', text, `one of ${LOG_LEVELS.join(', ')}`)
}

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, '': 1000, m: 60_000, h: 3_600_000 }
const MAX_DURATION_MS = 24 * 3_600_000
const MIN_INTERVAL_MS = 1_000

/** Parses a duration into milliseconds: "5", "1.5s", "500ms", "2m" or "1h". */
export function parseDuration(text: string): number {
  const ms = durationOf(text)
  if (ms !== undefined) return ms
  throw new InvalidArgumentError('--timeout', text, 'a duration from 1ms to 24h, such as 5, 5s, 500ms or 2m')
}

function parseInterval(text: string): number {
  const ms = text === 'never' ? Infinity : durationOf(text)
  if (ms !== undefined && ms >= MIN_INTERVAL_MS) return ms
  throw new InvalidArgumentError('--scrub-interval', text, "a duration from 1s to 24h, such as 10m or 1h, or 'never'")
}

function durationOf(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|)$/.exec(text)
  const ms = match === null ? 0 : Math.round(Number(match[1]) * UNIT_MS[match[2]!]!)
  return ms >= 1 && ms <= MAX_DURATION_MS ? ms : undefined
}

function parsePeers(text: string): string[] {
  if (text.trim() === '') throw new UsageError(NO_PEERS)
  return parsePeerAddresses(text, '--peers (or QUIRE_PEERS)').map(({ address }) => address)
}
