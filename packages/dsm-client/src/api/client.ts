import {
  createClock,
  createLibp2pNetwork,
  createRandom,
  generatePrivateKey,
  onAbort,
  type Libp2pNetwork
} from '@quire/net'
import {
  ClosedError,
  MAX_FILE_BYTES,
  UnavailableError,
  assert,
  type LeaderMessage,
  type LostRange,
  type WireFileStat
} from '@quire/protocol'
import {
  createSlabFrameProvider,
  zeroCounters,
  type AddressSpacePages,
  type CoherenceCounters,
  type FrameProvider,
  type Page
} from '../core/index.js'
import { createFile, toFileStat } from './file.js'
import type { OpenFile } from '../host.js'
import { OpenOrder } from './open-order.js'
import { checkNothingLost, flushFile } from './page-io.js'
import type { Reply, RequestBody } from '../session/request-queue.js'
import { Session, type ClientComponents } from '../session/session.js'
import { resolveSettings, type Settings } from './settings.js'
import { FaultTimer } from '../session/fault-timer.js'
import { abortReason, pause, throwIfAborted, untilAborted } from '../waiting.js'
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
import { checkCount, checkOneOf, checkOptions, checkPageSize, checkPath, checkPrefix } from '../validate.js'

type OpenBody = Extract<RequestBody, { type: 'open' | 'createUnnamed' }>

const LIST_BATCH = 256
/** How long the leader may take for the end of a session that could not be flushed. */
const LAST_WORD_MS = 500
/** Between two attempts to flush everything, when it is closed. */
const RETRY_MS = 100

/**
 * Connects to the cluster and opens a session.
 *
 * Rejects at once with InvalidArgumentError for malformed settings, for an address that nobody can dial, and for the key
 * of a given peer (later, for the key of a peer that another one names). Rejects with NotAuthorizedError when this client
 * is not listed (one refusal is enough, unless another known peer takes the client within a second) or when a peer of
 * another cluster answers; with QuotaExceededError when the cluster has no room for another session; with
 * VersionMismatchError; and with UnavailableError when no leader could be reached within `faultTimeoutMs`: its reason says
 * what each peer last said. Nothing is left open.
 */
export async function createDsmClient(init: DsmClientInit): Promise<DsmClient> {
  const settings = resolveSettings(init)
  const privateKey = init.privateKey ?? (await generatePrivateKey())
  const network = await createLibp2pNetwork({ privateKey, listen: [], logger: settings.logger })
  try {
    return await start({ network, clock: createClock(), random: createRandom() }, settings, network)
  } catch (error) {
    await network.close()
    throw error
  }
}

/** As {@link createDsmClient}, on a network, clock and chance of the caller's, which it keeps. */
export async function createDsmClientOn(components: ClientComponents, init: DsmClientInit): Promise<DsmClient> {
  return start(components, resolveSettings(init), undefined)
}

/** What a client holds at this moment, for checkers. */
export interface ClientView {
  readonly session: number
  /** The lease is valid: its readable pages may be read without asking anybody. */
  readonly isValid: boolean
  readonly isEnded: boolean
  readonly pages: Iterable<Readonly<Page>>
  readonly spaces: Iterable<Readonly<AddressSpacePages>>
  readonly pendingRequests: number
  readonly counters: Readonly<CoherenceCounters>
}

/** Looks inside a client of {@link createDsmClientOn}. */
export function inspectClient(client: DsmClient): ClientView {
  assert(client instanceof Client, 'not a client of this package')
  return client.inspect()
}

async function start(
  components: ClientComponents,
  settings: Settings,
  ownNetwork: Libp2pNetwork | undefined
): Promise<DsmClient> {
  settings.cluster.checkOwnId(components.network.id)
  const client = new Client(components, settings, ownNetwork)
  await client.connect()
  return client
}

class Client implements DsmClient {
  readonly peerId: string
  private readonly frames: FrameProvider
  private readonly faults = new FaultTimer()
  private readonly events = new EventTarget()
  private current: Session
  private starting: Promise<void> | undefined
  private files = new Map<number, OpenFile>()
  private readonly counters = zeroCounters()
  private readonly order = new OpenOrder()
  private closing: Promise<void> | undefined
  /** Aborted when nobody has time to wait for an orderly close. */
  private readonly hurry = new AbortController()
  private leader = { id: '', term: 0 }

  constructor(
    private readonly components: ClientComponents,
    private readonly settings: Settings,
    private readonly ownNetwork: Libp2pNetwork | undefined
  ) {
    this.peerId = components.network.id
    this.frames = createSlabFrameProvider(settings.cacheBytes)
    this.current = this.newSession()
  }

  get session(): DsmClient['session'] {
    const { id, state, ttlMs } = this.current
    return { id: String(id), state, ttlMs }
  }

  connect(): Promise<void> {
    return this.current.start()
  }

  async open(path: string, options: OpenOptions = {}): Promise<DsmFile> {
    const { create = false, exclusive = false, truncate = false, size = 0, pageSize = 0, unit, signal } = options
    checkOptions('open', options, ['create', 'exclusive', 'truncate', 'size', 'pageSize', 'unit', 'signal'])
    checkNewFile(options)
    checkPath(path)
    return this.openAs({ type: 'open', path, create, exclusive, size, pageSize, unit }, truncate, signal)
  }

  async createUnnamed(options: CreateUnnamedOptions = {}): Promise<DsmFile> {
    const { size = 0, pageSize = 0, unit, signal } = options
    checkOptions('createUnnamed', options, ['size', 'pageSize', 'unit', 'signal'])
    checkNewFile(options)
    return this.openAs({ type: 'createUnnamed', size, pageSize, unit }, false, signal)
  }

  private async openAs(body: OpenBody, truncate: boolean, signal: AbortSignal | undefined): Promise<DsmFile> {
    const opening = this.order.open(async () => {
      throwIfAborted(signal)
      await this.ensureSession(signal)
      const session = this.current
      const reply = await session.request(body, {
        signal,
        // An order to discard may be right behind the answer, and must find the file.
        onAnswer: (answer) => {
          if (answer.type === 'opened') this.opened(session, answer.stat)
        },
        onLate: (late) => this.openedLate(session, late)
      })
      if (reply.type !== 'opened') throw new UnavailableError(`the leader answered ${body.type} with ${reply.type}`)
      // The session may have ended between the answer and this line.
      if (session.ended !== undefined) throw session.ended
      if (this.closing !== undefined) throw new ClosedError('the client')
      const open = this.files.get(reply.stat.id)
      assert(open !== undefined, `file ${reply.stat.id} was opened and is not there`)
      return { open, session }
    })
    try {
      const { open, session } = await untilAborted(opening, signal)
      const file = createFile(open, session, () => this.release(session, open))
      if (truncate) await file.truncate(0, { signal })
      return file
    } catch (error) {
      // Nobody gets the handle, if there is one; the file must not stay mapped for it. Nothing was written through it.
      opening
        .then(({ open, session }) => this.forget(session, open))
        .catch((err: unknown) => this.settings.logger.debug({ err, request: body }, 'a file that was given up'))
      throw error
    }
  }

  async rename(from: string, to: string, { signal }: CallOptions = {}): Promise<void> {
    checkPath(from)
    checkPath(to)
    await this.ensureSession(signal)
    await this.current.request({ type: 'rename', from, to }, { signal, onLate: () => {} })
  }

  async unlink(path: string, { signal }: CallOptions = {}): Promise<void> {
    checkPath(path)
    await this.ensureSession(signal)
    await this.current.request({ type: 'unlink', path }, { signal, onLate: () => {} })
  }

  async stat(path: string, { signal }: CallOptions = {}): Promise<FileStat> {
    checkPath(path)
    await this.ensureSession(signal)
    const reply = await this.current.request({ type: 'stat', path }, { signal })
    const stat = reply.type === 'files' ? reply.files[0] : undefined
    if (stat === undefined) throw new UnavailableError(`the leader answered stat with ${reply.type}`)
    return toFileStat(stat)
  }

  async *list(prefix = '/', { signal }: CallOptions = {}): AsyncIterable<FileStat> {
    checkPrefix(prefix)
    let after = ''
    for (;;) {
      await this.ensureSession(signal)
      const reply = await this.current.request({ type: 'list', prefix, after, limit: LIST_BATCH }, { signal })
      if (reply.type !== 'files') throw new UnavailableError(`the leader answered list with ${reply.type}`)
      for (const stat of reply.files) yield toFileStat(stat)
      if (reply.done || reply.files.length === 0) return
      after = reply.files.at(-1)!.path
    }
  }

  addEventListener<K extends keyof DsmClientEvents>(type: K, listener: (event: DsmClientEvents[K]) => void): void {
    this.events.addEventListener(type, listener as (event: Event) => void)
  }

  removeEventListener<K extends keyof DsmClientEvents>(type: K, listener: (event: DsmClientEvents[K]) => void): void {
    this.events.removeEventListener(type, listener as (event: Event) => void)
  }

  stats(): ClientStats {
    const { hits, grants, invalidations, downgrades, handovers, writebacks, evictions, bytesIn, bytesOut } =
      this.counters
    return {
      faults: {
        read: this.faults.stats('read'),
        write: this.faults.stats('write'),
        upgrade: this.faults.stats('upgrade')
      },
      hits,
      grants,
      invalidations,
      downgrades,
      handovers,
      writebacks,
      evictions,
      bytesIn,
      bytesOut,
      frameBytesUsed: this.frames.usedBytes,
      frameBytesCapacity: this.frames.capacityBytes
    }
  }

  async close({ signal }: CallOptions = {}): Promise<void> {
    // Before it begins, it can still be left: what is not flushed is not lost.
    if (this.closing === undefined) throwIfAborted(signal)
    this.closing ??= this.doClose()
    // Later, whoever has no more time ends it for all.
    const hurry = (): void => this.hurry.abort(abortReason(signal!))
    if (signal?.aborted) hurry()
    const leave = signal === undefined ? undefined : onAbort(signal, hurry)
    try {
      await this.closing
    } finally {
      leave?.()
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  inspect(): ClientView {
    const { current, counters } = this
    return {
      session: current.id,
      isValid: current.isLeaseValid(),
      isEnded: current.ended !== undefined,
      pages: current.coherence.pages(),
      spaces: current.coherence.table.all(),
      pendingRequests: current.pendingRequests,
      counters
    }
  }

  private newSession(): Session {
    return new Session(this.components, {
      cluster: this.settings.cluster,
      frames: this.frames,
      faults: this.faults,
      counters: this.counters,
      ttlMs: this.settings.sessionTtlMs,
      timeoutMs: this.settings.faultTimeoutMs,
      logger: this.settings.logger,
      history: this.settings.history,
      onLost: (lost) => this.lost(lost),
      onLeader: (leader, term) => this.led(leader, term)
    })
  }

  /** After a session was lost, the next call starts another. */
  private async ensureSession(signal?: AbortSignal): Promise<void> {
    if (this.closing !== undefined) throw new ClosedError('the client')
    if (this.current.ended === undefined) return
    if (this.starting === undefined) {
      this.current = this.newSession()
      this.files = new Map()
      // Whoever waits for it can give up without the others.
      this.starting = this.current.start().finally(() => (this.starting = undefined))
    }
    await untilAborted(this.starting, signal)
  }

  private opened(session: Session, stat: WireFileStat): void {
    let file = this.files.get(stat.id)
    if (file === undefined) {
      const { id, pageSize, unit, size } = stat
      const isUnnamed = stat.path === ''
      const path = isUnnamed ? `unnamed file ${id}` : stat.path
      const space = session.coherence.addFile({ file: id, path, pageSize, unit, size })
      const refreshSize = async (signal?: AbortSignal): Promise<number> => (await session.statFile(space, signal)).size
      file = { host: session, space, id, path, isUnnamed, pageSize, handles: 0, closing: 0, refreshSize }
      this.files.set(id, file)
    }
    // Of a file that was open already, only the leader's answers to later questions say something.
    file.handles++
  }

  private async forget(session: Session, file: OpenFile): Promise<void> {
    if (file.handles === 0) return
    file.handles--
    if (file.handles === 0) await this.release(session, file)
  }

  private async release(session: Session, file: OpenFile): Promise<void> {
    let answer: Promise<void> | undefined
    await this.order.leave(() => {
      // It may have been opened again meanwhile.
      if (file.handles > 0 || session.ended !== undefined) return
      this.files.delete(file.id)
      session.coherence.removeFile(file.id, new ClosedError(file.path))
      session.drain()
      answer = this.unmap(session, file.id)
    })
    await answer
  }

  /** The caller has given up waiting, but the cluster has it that this session maps the file. */
  private openedLate(session: Session, reply: LeaderMessage): void {
    if (reply.type !== 'opened') return
    void this.order.leave(() => {
      if (this.files.has(reply.stat.id) || session.ended !== undefined) return
      // Nobody waits; the session's end closes it as well.
      this.unmap(session, reply.stat.id).catch(() => {})
    })
  }

  /** Goes on when nobody waits for it any more: the cluster must hear that the file is closed. */
  private async unmap(session: Session, file: number): Promise<void> {
    const closed = (answer: Reply): void => {
      if (answer.type !== 'done') return
      session.coherence.fileClosed(file)
      session.drain()
    }
    await session.request({ type: 'close', file }, { onAnswer: closed, onLate: closed })
  }

  private async doClose(): Promise<void> {
    const { current } = this
    const files = [...this.files.values()]
    const reason = new ClosedError('the client')
    // Nothing may be written any more that the flush would not see.
    for (const file of files) {
      file.handles = 0
      current.coherence.refuseWaiters(file.id, reason)
    }
    let isFlushed = false
    // The others are deleted with the session, and nobody will read them.
    const kept = files.filter(({ isUnnamed, isNaming }) => isUnnamed !== true || isNaming === true)
    try {
      for (const file of kept) checkNothingLost(file)
      if (current.ended === undefined) await this.flushAll(kept)
      isFlushed = true
    } finally {
      // Others get the pages as soon as the session's end is in the log, before its answer is here. What could not be flushed is
      // still given to who asks for it until then.
      for (const file of files) current.coherence.unmapFile(file.id)
      // Who has not taken the bytes will hardly answer this.
      const cancel = isFlushed ? undefined : this.components.clock.schedule(LAST_WORD_MS, () => this.hurry.abort())
      await current.end(isFlushed, this.hurry.signal)
      cancel?.()
      await this.ownNetwork?.close()
    }
  }

  /** What fails is tried again while there is time: nobody can ask for it later. */
  private async flushAll(files: readonly OpenFile[]): Promise<void> {
    const { clock } = this.components
    const { signal } = this.hurry
    const until = clock.now() + this.settings.faultTimeoutMs
    for (;;) {
      // All of them, also when one fails.
      const flushes = files.map((file) => flushFile(file, signal))
      const failed = (await Promise.allSettled(flushes)).find((flush) => flush.status === 'rejected')
      if (failed === undefined) return
      if (this.current.ended !== undefined || signal.aborted || clock.now() >= until) throw failed.reason
      await pause(clock, RETRY_MS, signal)
    }
  }

  private led(leader: string, term: number): void {
    // A new connection to the same leader is no news.
    if (leader === this.leader.id && term === this.leader.term) return
    this.leader = { id: leader, term }
    this.events.dispatchEvent(new CustomEvent('leaderchange', { detail: { leader, term } }))
  }

  private lost(lost: readonly LostRange[]): void {
    this.events.dispatchEvent(new CustomEvent('sessionlost', { detail: { lost } }))
  }
}

/** Of a file that may have to be created. */
function checkNewFile({ size = 0, pageSize, unit }: Pick<OpenOptions, 'size' | 'pageSize' | 'unit'>): void {
  if (unit !== undefined) checkOneOf('unit', unit, ['page', 'file'])
  checkCount('size', size, 0, MAX_FILE_BYTES)
  if (pageSize !== undefined) checkPageSize(pageSize)
}
