import type { DsmClient } from '@quire/dsm-client'
import { loadPrivateKey, parsePeerAddresses, type PrivateKey } from '@quire/net'
import { InvalidArgumentError, NotAuthorizedError, refusePath, refusePrefix } from '@quire/protocol'
import { Option, type Command } from 'commander'
import { setTimeout } from 'node:timers/promises'
import pino, { type Logger } from 'pino'
import { UNLISTED } from '@quire/store/internal/cli'
import { InterruptedError, UsageError } from './output.js'
import { showControls } from './visible.js'

export interface JsonOption {
  readonly json?: boolean
}

export interface ClusterOptions extends JsonOption {
  readonly peers?: readonly string[]
  readonly key?: string
  /** Founding digest. */
  readonly cluster?: string
  /** Milliseconds. */
  readonly timeout?: number
}

const NO_PEERS = 'no peers: give --peers or set QUIRE_PEERS'

export const LOG_LEVELS = ['silent', 'fatal', 'error', 'warn', 'info', 'debug', 'trace'] as const

export function withJson(command: Command): Command {
  return command.option('--json', 'print JSON, one value a line')
}

/** The options of every command that talks to a cluster. */
export function withCluster(command: Command): Command {
  return withJson(command)
    .addOption(
      new Option(
        '--peers <addresses>',
        'multiaddrs that end in /p2p/<PeerId>, separated by commas or white space; any one that answers is enough'
      )
        .env('QUIRE_PEERS')
        .argParser(parsePeers)
    )
    .option('--key <file>', "this client's key; default: a fresh one (env: QUIRE_KEY)", fileName('--key'))
    .addOption(
      new Option('--cluster <digest>', 'founding digest, as init prints it: peers of other clusters are not used')
        .env('QUIRE_CLUSTER')
        .argParser(parseDigest)
    )
    .option(
      '--timeout <duration>',
      'how long a step may wait for the cluster: seconds, or with a unit as in 500ms or 2m; default 30, of status and health 10',
      parseDuration
    )
}

export function withLogLevel(command: Command, level: (typeof LOG_LEVELS)[number]): Command {
  const option = new Option('--log-level <level>', 'of the log on stderr').choices(LOG_LEVELS).default(level)
  return command.addOption(option.argParser(parseLevel))
}

/** What a log that cannot be written may keep until it can be; later lines are dropped. */
const MAX_LOG_BACKLOG_BYTES = 1024 * 1024

export function createLogger(level: string): Logger {
  const destination = pino.destination({ dest: 2, sync: true, maxLength: MAX_LOG_BACKLOG_BYTES })
  // A full disk under the log must not end a peer.
  destination.on('error', () => {})
  // Lines end in a line feed of their own. What others have said stands in them, and they often go to a terminal.
  const streamWrite = (line: string): string => showControls(line.trimEnd()) + '\n'
  return pino({ level, base: null, hooks: { streamWrite } }, destination)
}

/** The options, and the fields of the API that they fill. */
export type OptionNames = Readonly<Record<string, string>>

/** Runs `use`. An InvalidArgumentError names the option that the user has typed, not the field of the API. */
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
  // An empty variable stands for none, as the shell's habit is; an empty --key is a mistake.
  const file = options.key ?? (process.env['QUIRE_KEY'] || undefined)
  return file === undefined ? undefined : loadPrivateKey(file)
}

/** A command without a key has an identity that no cluster can list, so its user needs to hear of keys. */
class FreshIdentityError extends NotAuthorizedError {
  override readonly message: string
  constructor({ who, reason }: NotAuthorizedError) {
    super(who, reason)
    const which = reason.replace(/^it /, 'which ')
    this.message = `this command has a fresh identity (${who}), ${which} (--key FILE or QUIRE_KEY)`
  }
}

/** The error that a command reports for `error`. Without a `key`, a refusal names what the user can do about it. */
export function explainRefusal(error: unknown, key: PrivateKey | undefined): unknown {
  const isUnlisted = error instanceof NotAuthorizedError && error.reason.startsWith(UNLISTED)
  return isUnlisted && key === undefined ? new FreshIdentityError(error) : error
}

export const CLIENT_OPTIONS: OptionNames = {
  peers: '--peers',
  privateKey: '--key',
  cluster: '--cluster',
  faultTimeoutMs: '--timeout'
}

/** Waiting for a cluster that is told that this client goes. */
const CLOSE_TIMEOUT_MS = 1000

/** Runs `use` with a client and ends its session, whatever happens, Ctrl-C included: then it rejects with InterruptedError. */
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
    // Bad usage ends above, without the time that the client's modules take.
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
      // What it still waited for fails now, and it tidies up; only a reader of our output could hold it up.
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
  // Something else has failed already, and that is what is reported.
}

/** A promise that rejects with InterruptedError when the process is told to end. */
function watchForInterruption(): { readonly promise: Promise<never>; stop(): void } {
  let interrupt: (signal: 'SIGINT' | 'SIGTERM') => void
  const promise = new Promise<never>((_, reject) => {
    interrupt = (signal) => reject(new InterruptedError(signal))
    process.once('SIGINT', interrupt).once('SIGTERM', interrupt)
  })
  promise.catch(() => {}) // It may come when nobody races it any more.
  return { promise, stop: () => void process.off('SIGINT', interrupt).off('SIGTERM', interrupt) }
}

// Parsers of commander. They throw InvalidArgumentError, as the API does, so that one form of words serves all values.

/** Of a local file or folder: the empty name would stand for the working directory. */
export function fileName(argument: string): (text: string) => string {
  return (text) => {
    if (text === '') throw new InvalidArgumentError(argument, text, 'a name')
    return text
  }
}

/** Of a stored file: refused before anybody is connected to. */
export function storedPath(argument: string): (text: string) => string {
  return (text) => checked(text, argument, refusePath(text))
}

/** The beginning of paths. */
export function parsePrefix(text: string): string {
  return checked(text, 'prefix', refusePrefix(text))
}

function checked(text: string, argument: string, refusal: InvalidArgumentError | undefined): string {
  if (refusal === undefined) return text
  throw new InvalidArgumentError(argument, refusal.value, refusal.expected)
}

/** PeerIds as they were typed: between commas and white space, as addresses are. */
export function splitIds(items: readonly string[]): string[] {
  return items.flatMap((item) => {
    const ids = item.split(/[\s,]+/).filter((id) => id !== '')
    // Nothing is no PeerId, and is refused as one under the name of the option.
    return ids.length === 0 ? [item] : ids
  })
}

/** The value of --clients. */
export function clientsOf(items: readonly string[]): readonly string[] | 'any' {
  const ids = splitIds(items)
  if (!ids.includes('any')) return ids
  if (ids.length > 1) throw new UsageError("--clients: 'any' lets in all, so name no other")
  return 'any'
}

function parseDigest(text: string): string {
  // An environment variable that is set to nothing.
  if (text === '' || /^[0-9a-f]{64}$/.test(text)) return text
  throw new InvalidArgumentError('--cluster (or QUIRE_CLUSTER)', text, '64 hexadecimal digits')
}

function parseLevel(text: string): string {
  if ((LOG_LEVELS as readonly string[]).includes(text)) return text
  throw new InvalidArgumentError('--log-level', text, `one of ${LOG_LEVELS.join(', ')}`)
}

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, '': 1000, m: 60_000, h: 3_600_000 }
const MAX_DURATION_MS = 24 * 3_600_000

/** Milliseconds of "5", "1.5s", "500ms", "2m" or "1h". */
export function parseDuration(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|)$/.exec(text)
  const ms = match === null ? 0 : Math.round(Number(match[1]) * UNIT_MS[match[2]!]!)
  if (ms >= 1 && ms <= MAX_DURATION_MS) return ms
  throw new InvalidArgumentError('--timeout', text, 'a duration from 1ms to 24h, such as 5, 5s, 500ms or 2m')
}

function parsePeers(text: string): string[] {
  if (text.trim() === '') throw new UsageError(NO_PEERS)
  return parsePeerAddresses(text, '--peers (or QUIRE_PEERS)').map(({ address }) => address)
}
