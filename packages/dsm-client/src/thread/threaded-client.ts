/** A client in a thread of its own: see `DsmClient` in types.ts, and docs/threads.md. */
import { createClock, privateKeyToText } from '@quire/net'
import type { Level, Logger } from 'pino'
import type { Settings } from '../api/settings.js'
import { DirectAccess } from '../core/direct-access.js'
import { SharedTableArrays } from '../core/shared-page-table.js'
import { Recorder } from '../history.js'
import type {
  CallOptions,
  ClientStats,
  CreateUnnamedOptions,
  DsmClient,
  DsmClientEvents,
  DsmClientInit,
  DsmFile,
  FileStat,
  OpenOptions
} from '../types.js'
import { throwIfAborted, untilAborted } from '../waiting.js'
import { EngineLink, type Notice } from './engine-link.js'
import { CLIENT, type RemoteFile } from './messages.js'
import type { ThreadContext } from './thread-context.js'
import { ThreadedFile } from './threaded-file.js'
import { decodeError } from './thread-errors.js'

/** Starts a thread, and in it a client. `settings` are those that `init` resolves to. */
export async function createThreadedClient(init: DsmClientInit, settings: Settings): Promise<DsmClient> {
  const client = new ThreadedClient(init, settings)
  await client.start()
  return client
}

/** Passes the calls of a client on to its thread. */
class ThreadedClient implements DsmClient, ThreadContext {
  peerId = ''
  readonly link: EngineLink
  direct!: DirectAccess
  readonly pins: ThreadContext['pins'] = new Map()
  readonly hasHistory: boolean
  isClosing = false
  private readonly events = new EventTarget()
  private readonly clock = createClock()
  /** Calls of `close` that have not ended. */
  private closers = 0
  private closed: { readonly outcome: Promise<void> } | undefined
  private last: { readonly session: DsmClient['session']; readonly stats: ClientStats } | undefined

  constructor(
    { peers, cluster, privateKey }: DsmClientInit,
    private readonly settings: Settings
  ) {
    const { cacheBytes, sessionTtlMs, faultTimeoutMs, logger, history } = settings
    this.hasHistory = history !== undefined
    this.link = new EngineLink(
      {
        peers,
        cluster,
        privateKey: privateKey && privateKeyToText(privateKey),
        cacheBytes,
        sessionTtlMs,
        faultTimeoutMs,
        logLevel: logger.level,
        hasHistory: this.hasHistory
      },
      (notice) => this.noticed(notice)
    )
  }

  async start(): Promise<void> {
    try {
      const { peerId, table } = await this.link.start()
      this.peerId = peerId
      this.direct = new DirectAccess({
        table: new SharedTableArrays(table),
        slab: (number) => this.link.slab(number),
        now: () => this.now()
      })
    } catch (error) {
      await this.link.end()
      throw error
    }
  }

  now(): number {
    return this.clock.now()
  }

  recorderOf(session: string): Recorder {
    return new Recorder({
      client: this.peerId,
      process: () => session,
      now: () => this.now(),
      emit: this.settings.history
    })
  }

  get session(): DsmClient['session'] {
    return this.last?.session ?? this.link.callNow(CLIENT, 'session')
  }

  stats(): ClientStats {
    const stats = this.last?.stats ?? this.link.callNow<ClientStats>(CLIENT, 'stats')
    return { ...stats, hits: stats.hits + this.direct.hits }
  }

  async open(path: string, options: OpenOptions = {}): Promise<DsmFile> {
    return this.opened(await this.link.call<RemoteFile>(CLIENT, 'open', [path], options))
  }

  async createUnnamed(options: CreateUnnamedOptions = {}): Promise<DsmFile> {
    return this.opened(await this.link.call<RemoteFile>(CLIENT, 'createUnnamed', [], options))
  }

  private opened(remote: RemoteFile): DsmFile {
    return new ThreadedFile(this, remote)
  }

  stat(path: string, options: CallOptions = {}): Promise<FileStat> {
    return this.link.call(CLIENT, 'stat', [path], options)
  }

  async *list(prefix = '/', { signal }: CallOptions = {}): AsyncIterable<FileStat> {
    throwIfAborted(signal)
    const listing = await this.link.call<number>(CLIENT, 'list', [prefix])
    try {
      for (;;) {
        const next = await untilAborted(this.link.call<IteratorResult<FileStat>>(listing, 'next', []), signal)
        if (next.done === true) return
        yield next.value
      }
    } finally {
      this.link.tell(listing, 'return')
    }
  }

  rename(from: string, to: string, options: CallOptions = {}): Promise<void> {
    return this.link.call(CLIENT, 'rename', [from, to], options)
  }

  unlink(path: string, options: CallOptions = {}): Promise<void> {
    return this.link.call(CLIENT, 'unlink', [path], options)
  }

  addEventListener<K extends keyof DsmClientEvents>(type: K, listener: (event: DsmClientEvents[K]) => void): void {
    this.events.addEventListener(type, listener as (event: Event) => void)
  }

  removeEventListener<K extends keyof DsmClientEvents>(type: K, listener: (event: DsmClientEvents[K]) => void): void {
    this.events.removeEventListener(type, listener as (event: Event) => void)
  }

  async close(options: CallOptions = {}): Promise<void> {
    // Before the close begins, the caller can still leave without a loss.
    if (!this.isClosing) throwIfAborted(options.signal)
    this.isClosing = true
    if (this.closed !== undefined) return this.closed.outcome
    this.closers++
    const outcome = this.link.call<void>(CLIENT, 'close', [], options)
    try {
      await outcome
    } finally {
      // Every call of `close` has the same outcome.
      this.closed ??= { outcome }
      this.closers--
      if (this.closers === 0) await this.end()
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  private async end(): Promise<void> {
    if (!this.link.hasEnded) {
      this.last = { session: this.session, stats: this.link.callNow(CLIENT, 'stats') }
    }
    await this.link.end()
  }

  private noticed(notice: Notice): void {
    switch (notice.type) {
      case 'event':
        this.events.dispatchEvent(new CustomEvent(notice.name, { detail: notice.detail }))
        break
      case 'lost':
        this.pins.get(notice.object)?.sessionLost(decodeError(notice.error))
        break
      case 'history':
        this.settings.history?.(notice.event)
        break
      case 'log':
        logLine(this.settings.logger, notice.line)
    }
  }
}

/** Passes a line of pino to the program's logger, which has its own names and times. */
function logLine(logger: Logger, line: string): void {
  const { level, msg, ...facts } = JSON.parse(line) as { level: number; msg: string }
  const name = (logger.levels.labels[level] ?? 'info') as Level
  logger[name](facts, msg)
}
