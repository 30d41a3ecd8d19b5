import { createDsmClient, type DsmClient } from '@quire/dsm-client'
import { loadPrivateKey, parsePeerAddress, type PrivateKey } from '@quire/net'
import { Option, type Command } from 'commander'
import pino, { type Logger } from 'pino'
import { UsageError } from './output.js'

export interface JsonOption {
  readonly json?: boolean
}

export interface ClusterOptions extends JsonOption {
  readonly peers?: readonly string[]
  readonly key?: string
}

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
        'multiaddrs that end in /p2p/<PeerId>, separated by commas; any one that answers is enough'
      )
        .env('QUIRE_PEERS')
        .argParser(parsePeers)
    )
    .option('--key <file>', "this client's key; default: a fresh one")
}

export function withLogLevel(command: Command, level: (typeof LOG_LEVELS)[number]): Command {
  return command.addOption(new Option('--log-level <level>', 'of the log on stderr').choices(LOG_LEVELS).default(level))
}

export function createLogger(level: string): Logger {
  return pino({ level, base: null }, pino.destination({ dest: 2, sync: true }))
}

export function peersOf(options: ClusterOptions): readonly string[] {
  if (options.peers === undefined) throw new UsageError('no peers: give --peers or set QUIRE_PEERS')
  return options.peers
}

export async function keyOf(options: ClusterOptions): Promise<PrivateKey | undefined> {
  return options.key === undefined ? undefined : loadPrivateKey(options.key)
}

/** Runs `use` with a client and ends its session, whatever happens. */
export async function withClient<T>(options: ClusterOptions, use: (client: DsmClient) => Promise<T>): Promise<T> {
  const client = await createDsmClient({ peers: peersOf(options), privateKey: await keyOf(options) })
  let result: T
  try {
    result = await use(client)
  } catch (error) {
    await client.close().catch(() => {})
    throw error
  }
  await client.close()
  return result
}

function parsePeers(text: string): string[] {
  const addresses = text.split(',').filter((address) => address !== '')
  if (addresses.length === 0) throw new UsageError('--peers: no address')
  try {
    return addresses.map((address) => parsePeerAddress(address, '--peers').address)
  } catch (error) {
    throw new UsageError((error as Error).message)
  }
}
