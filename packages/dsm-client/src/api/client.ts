/** The calls of a client: see `DsmClient` in types.ts. */
import { onAbort, type Libp2pNetwork } from '@quire/net'
import { ClosedError, MAX_FILE_BYTES, UnavailableError, assert, type LostRange } from '@quire/protocol'
import {
  createSlabFrameProvider,
  zeroCounters,
  type AddressSpacePages,
  type CoherenceCounters,
  type FrameProvider,
  type Page
} from '../core/index.js'
import type { SharedFrames } from '../core/shared-frames.js'
import type { OpenFile } from '../host.js'
import { FaultTimer } from '../session/fault-timer.js'
import { Session, type ClientComponents } from '../session/session.js'
import type {
  CallOptions,
  ClientStats,
  CreateUnnamedOptions,
  DsmClient,
  DsmClientEvents,
  DsmFile,
  FileStat,
  OpenOptions,
  PageContention
} from '../types.js'
import { checkCount, checkOneOf, checkOptions, checkPageSize, checkPath, checkPrefix } from '../validate.js'
import { abortReason, pause, throwIfAborted, untilAborted } from '../waiting.js'
import { CurrentSession } from './current-session.js'
import { createFile, toFileStat } from './file.js'
import type { OpenBody } from './open-files.js'
import { checkNothingLost, flushFile } from './page-io.js'
import type { Settings } from './settings.js'

const LIST_BATCH = 256
const MAX_CONTENDED = 8
/** How long the leader may take to end a session that could not be flushed. */
const LAST_WORD_MS = 500
/** Between two attempts of a close to flush everything. */
const RETRY_MS = 100

/** What a client holds at the moment, for checkers. */
export interface ClientView {
  readonly session: number
  /** The lease is valid: the program may read readable pages without a fault. */
  readonly isValid: boolean
  readonly isEnded: boolean
  readonly pages: Iterable<Readonly<Page>>
  readonly spaces: Iterable<Readonly<AddressSpacePages>>
  readonly pendingRequests: number
  readonly counters: Readonly<CoherenceCounters>
}

/** Looks inside a client of `createDsmClientOn`. */
export function inspectClient(client: DsmClient): ClientView {
  assert(client instanceof Client, 'not a client of this package')
  return client.inspect()
}

/** Implements the calls of a client on its current session. */
export class Client implements DsmClient {
  readonly peerId: string
  private readonly frames: FrameProvider
  private readonly faults = new FaultTimer()
  private readonly events = new EventTarget()
  private readonly counters = zeroCounters()
  private readonly current: CurrentSession
  private closing: Promise<void> | undefined
  /** Aborts when an orderly close would take too long. */
  private readonly hurry = new AbortController()
  private leader = { id: '', term: 0 }

  constructor(
    private readonly components: ClientComponents,
    private readonly settings: Settings,
    private readonly ownNetwork?: Libp2pNetwork,
    private readonly sharedFrames?: SharedFrames
  ) {
    this.peerId = components.network.id
    this.frames = sharedFrames ?? createSlabFrameProvider(settings.cacheBytes)
    this.current = new CurrentSession(() => this.newSession())
  }

  get session(): DsmClient['session'] {
    const { id, state, ttlMs } = this.current.session
    return { id: String(id), state, ttlMs }
  }

  connect(): Promise<void> {
    return this.current.session.start()
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
    const { current } = this
    const opening = current.order.open(async () => {
      throwIfAborted(signal)
      await this.ensureSession(signal)
      const { files, session } = current
      const reply = await files.request(body, signal)
      const open = files.take(reply)
      if (this.closing !== undefined) throw new ClosedError('the client')
      return { open, files, session }
    })
    try {
      const { open, files, session } = await untilAborted(opening, signal)
      const file = createFile(open, session, () => files.release(open))
      if (truncate) await file.truncate(0, { signal })
      return file
    } catch (error) {
      // The program gets no handle, so the file must not stay open for it. It has written nothing through this handle.
      opening
        .then(({ open, files }) => files.forget(open))
        .catch((err: unknown) => this.settings.logger.debug({ err, request: body }, 'a file that was given up'))
      throw error
    }
  }

  async rename(from: string, to: string, { signal }: CallOptions = {}): Promise<void> {
    checkPath(from)
    checkPath(to)
    await this.ensureSession(signal)
    await this.current.session.request({ type: 'rename', from, to }, { signal, onLate: () => {} })
  }

  async unlink(path: string, { signal }: CallOptions = {}): Promise<void> {
    checkPath(path)
    await this.ensureSession(signal)
    await this.current.session.request({ type: 'unlink', path }, { signal, onLate: () => {} })
  }

  async stat(path: string, { signal }: CallOptions = {}): Promise<FileStat> {
    checkPath(path)
    await this.ensureSession(signal)
    const { files } = await this.current.session.request({ type: 'stat', path }, { signal })
    const [stat] = files
    if (stat === undefined) throw new UnavailableError('the leader answered stat without a file')
    return toFileStat(stat)
  }

  async *list(prefix = '/', { signal }: CallOptions = {}): AsyncIterable<FileStat> {
    checkPrefix(prefix)
    let after = ''
    for (;;) {
      await this.ensureSession(signal)
      const reply = await this.current.session.request({ type: 'list', prefix, after, limit: LIST_BATCH }, { signal })
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
    const { hits, grants, invalidations, downgrades, handovers, writebacks, diffs, evictions } = this.counters
    const { readAheads, readAheadsWasted, bytesIn, bytesOut } = this.counters
    return {
      ...this.current.session.path,
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
      diffs,
      evictions,
      readAheads,
      readAheadsWasted,
      bytesIn,
      bytesOut,
      frameBytesUsed: this.frames.usedBytes,
      frameBytesCapacity: this.frames.capacityBytes,
      contended: this.contended()
    }
  }

  /** The pages of files that are open now. */
  private contended(): PageContention[] {
    const files = new Map(this.current.files.all().map((file) => [file.id, file]))
    return this.counters.taken.top(MAX_CONTENDED, files).map(({ file: id, page, taken }) => {
      const { path, pageSize } = files.get(id)!
      return { path, offset: page * pageSize, taken }
    })
  }

  async close({ signal }: CallOptions = {}): Promise<void> {
    // Before the close begins, the caller can still leave without a loss.
    if (this.closing === undefined) throwIfAborted(signal)
    this.closing ??= this.doClose()
    // Later, an abort of any caller hurries the close for all.
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
    const { counters } = this
    const current = this.current.session
    return {
      session: current.id,
      isValid: current.isLeaseValid(),
      isEnded: current.ended !== undefined,
      pages: current.pages.coherence.pages(),
      spaces: current.pages.table.all(),
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
      onLease: (until) => this.sharedFrames?.table.setLease(until),
      onLost: (lost) => this.lost(lost),
      onLeader: (leader, term) => this.led(leader, term)
    })
  }

  private ensureSession(signal?: AbortSignal): Promise<void> {
    if (this.closing !== undefined) return Promise.reject(new ClosedError('the client'))
    return this.current.ensure(signal)
  }

  private async doClose(): Promise<void> {
    const current = this.current.session
    const files = this.current.files.all()
    const reason = new ClosedError('the client')
    // From here on, no write may come that the flush would miss.
    for (const file of files) {
      file.handles = 0
      current.pages.coherence.refuseWaiters(file.id, reason)
    }
    let isFlushed = false
    // The cluster deletes unnamed files with the session.
    const kept = files.filter(({ isUnnamed, isNaming }) => isUnnamed !== true || isNaming === true)
    try {
      for (const file of kept) checkNothingLost(file)
      if (current.ended === undefined) await this.flushAll(kept)
      isFlushed = true
    } finally {
      // Other clients get the pages as soon as the session's end is in the log, before its answer is here. Until then,
      // bytes that could not be flushed still go to a client that wants them.
      for (const file of files) current.pages.coherence.unmapFile(file.id)
      // A leader that did not take the bytes will hardly answer this.
      const cancel = isFlushed ? undefined : this.components.clock.schedule(LAST_WORD_MS, () => this.hurry.abort())
      await current.end(isFlushed, this.hurry.signal)
      cancel?.()
      await this.ownNetwork?.close()
    }
  }

  /** Repeats failed flushes while there is time: after the close, there is no other chance. */
  private async flushAll(files: readonly OpenFile[]): Promise<void> {
    const { clock } = this.components
    const { signal } = this.hurry
    const until = clock.now() + this.settings.faultTimeoutMs
    for (;;) {
      // Try all files, even if one fails.
      const flushes = files.map((file) => flushFile(file, signal))
      const failed = (await Promise.allSettled(flushes)).find((flush) => flush.status === 'rejected')
      if (failed === undefined) return
      if (this.current.session.ended !== undefined || signal.aborted || clock.now() >= until) throw failed.reason
      await pause(clock, RETRY_MS, signal)
    }
  }

  private led(leader: string, term: number): void {
    // A new connection to the same leader is not a change.
    if (leader === this.leader.id && term === this.leader.term) return
    this.leader = { id: leader, term }
    this.events.dispatchEvent(new CustomEvent('leaderchange', { detail: { leader, term } }))
  }

  private lost(lost: readonly LostRange[]): void {
    this.events.dispatchEvent(new CustomEvent('sessionlost', { detail: { lost } }))
  }
}

/** Checks the options of a file that may have to be created. */
function checkNewFile({ size = 0, pageSize, unit }: Pick<OpenOptions, 'size' | 'pageSize' | 'unit'>): void {
  if (unit !== undefined) checkOneOf('unit', unit, ['page', 'file'])
  checkCount('size', size, 0, MAX_FILE_BYTES)
  if (pageSize !== undefined) checkPageSize(pageSize)
}
