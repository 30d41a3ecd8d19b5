import { withShortIds } from '@quire/net'
import { InvalidArgumentError, MAX_SESSION_TTL_MS, MIN_SESSION_TTL_MS } from '@quire/protocol'
import { pino, type Logger } from 'pino'
import { ClusterView } from '../session/cluster-view.js'
import { MIN_CACHE_BYTES } from '../core/index.js'
import type { HistoryEvent } from '../history.js'
import type { DsmClientInit } from '../types.js'
import { checkCount, checkFunction, checkOneOf, checkOptions, checkTexts, toFact } from '../validate.js'

export const DEFAULT_CACHE_BYTES = 64 * 1024 * 1024
const DEFAULT_SESSION_TTL_MS = 10_000
export const DEFAULT_FAULT_TIMEOUT_MS = 30_000

/** The settings of a client, with defaults for those that are absent. */
export interface Settings {
  readonly cluster: ClusterView
  readonly cacheBytes: number
  readonly sessionTtlMs: number
  readonly faultTimeoutMs: number
  readonly logger: Logger
  readonly history: ((event: HistoryEvent) => void) | undefined
  readonly thread: boolean
}

const INIT: readonly (keyof DsmClientInit)[] = [
  'peers',
  'cluster',
  'privateKey',
  'cacheBytes',
  'sessionTtlMs',
  'faultTimeoutMs',
  'logger',
  'history',
  'thread'
]

/** Checks the settings and adds the defaults. Throws InvalidArgumentError. */
export function resolveSettings(init: DsmClientInit): Settings {
  checkOptions('createDsmClient', init, INIT)
  const { peers } = init
  if (typeof peers !== 'string' && (!Array.isArray(peers) || peers.length === 0)) {
    throw new InvalidArgumentError(
      'peers',
      Array.isArray(peers) ? '' : toFact(peers),
      'multiaddrs, in a list or separated by commas or white space'
    )
  }
  const {
    cacheBytes = DEFAULT_CACHE_BYTES,
    sessionTtlMs = DEFAULT_SESSION_TTL_MS,
    faultTimeoutMs = DEFAULT_FAULT_TIMEOUT_MS
  } = init
  checkCount('cacheBytes', cacheBytes, MIN_CACHE_BYTES)
  checkCount('sessionTtlMs', sessionTtlMs, MIN_SESSION_TTL_MS, MAX_SESSION_TTL_MS)
  checkCount('faultTimeoutMs', faultTimeoutMs, 1)
  if (typeof peers !== 'string') checkTexts('peers', peers)
  const logger = init.logger ?? pino({ level: 'silent' })
  const { history, privateKey, thread = false } = init
  checkOneOf('thread', thread, [true, false])
  if (privateKey !== undefined && typeof privateKey?.sign !== 'function') {
    throw new InvalidArgumentError('privateKey', toFact(privateKey), 'a private key of libp2p')
  }
  if (history !== undefined) checkFunction('history', history)
  if (typeof logger?.debug !== 'function' || typeof logger.child !== 'function')
    throw new InvalidArgumentError('logger', toFact(logger), 'a pino logger')
  if (init.cluster !== undefined) checkDigest(init.cluster)
  return {
    cluster: new ClusterView(peers, init.cluster),
    cacheBytes,
    sessionTtlMs,
    faultTimeoutMs,
    logger: withShortIds(logger),
    history,
    thread
  }
}

/** Checks for a digest as `quire init` and `quire status` print it. */
function checkDigest(cluster: string): void {
  if (typeof cluster === 'string' && /^[0-9a-f]{64}$/.test(cluster)) return
  throw new InvalidArgumentError(
    'cluster',
    toFact(cluster),
    'a founding digest: 64 hexadecimal digits, as `quire init` prints it'
  )
}
