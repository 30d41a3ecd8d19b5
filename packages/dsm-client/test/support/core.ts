/** A coherence core, and the leader's part of its messages, one message at a time. */
import type {
  Access,
  ClientMessage,
  ClientMessageOf,
  PageWrite,
  WriteResult,
  GrantedPage,
  LeaderMessageOf,
  LostRange
} from '@quire/protocol'
import { Coherence, type ConnectionTerms } from '../../src/core/coherence.js'
import { createSlabFrameProvider, type FrameProvider } from '../../src/core/frames.js'
import type { Page } from '../../src/core/page.js'
import { zeroCounters } from '../../src/core/stats.js'

export const PAGE = 4096
export const FILE = 9
/** The smallest cache in bytes: sixteen frames. */
export const SMALL_CACHE = 65_536
/** The number of pages that `SMALL_CACHE` holds. */
export const FRAMES = SMALL_CACHE / PAGE

type Order = LeaderMessageOf<'invalidate' | 'revoke' | 'downgrade'>

/** The fields of a grant of one page that differ from the defaults. `value` is the first byte of a page of zeros. */
type GrantInit = Partial<Omit<LeaderMessageOf<'grant'>, 'pages'> & GrantedPage> & { value?: number }

/** An access to a page, and its outcome. */
export interface Waiter {
  state: 'waiting' | 'ran' | 'failed'
  error: Error | undefined
  bytes: Uint8Array | undefined
  page: Page | undefined
  withdraw: () => void
  unpin: () => void
}

export class CoreHarness {
  readonly frames: FrameProvider
  readonly core: Coherence
  readonly counters = zeroCounters()
  /** The messages from the client that the test has not taken yet. */
  sent: { lane: 'control' | 'bulk'; message: ClientMessage }[] = []
  term = 5
  now = 0

  constructor({ cacheBytes = 1024 * 1024, frames = createSlabFrameProvider(cacheBytes) } = {}) {
    this.frames = frames
    this.core = new Coherence(this.frames, this.counters, { output() {}, writing() {}, written() {} })
    this.core.addFile({ file: FILE, path: '/f', pageSize: PAGE })
  }

  connect(terms: Partial<ConnectionTerms> = {}): this {
    this.core.connected({ term: this.term, creditBytes: 1024 * 1024, maxFaults: 256, ...terms })
    this.drain()
    return this
  }

  disconnect(): void {
    this.core.disconnected()
    this.drain()
    this.sent = []
  }

  /** Takes the next message, which must have this type. */
  take<T extends ClientMessage['type']>(type: T): ClientMessageOf<T> {
    const next = this.sent.shift()
    if (next?.message.type !== type) throw new Error(`expected ${type}, sent was ${next?.message.type ?? 'nothing'}`)
    return next.message as ClientMessageOf<T>
  }

  /** Takes the next message, which must give back the bytes of one page. */
  takeDirty(): { readonly op: number; readonly dirty: PageWrite } {
    const { op, pages } = this.take('ownerAckDirty')
    return { op, dirty: pages[0]! }
  }

  /** Takes the next message of this type, even if earlier messages are left. */
  pick<T extends ClientMessage['type']>(type: T): ClientMessageOf<T> {
    const at = this.sent.findIndex(({ message }) => message.type === type)
    if (at < 0) throw new Error(`no ${type} was sent`)
    return this.sent.splice(at, 1)[0]!.message as ClientMessageOf<T>
  }

  get nothingSent(): boolean {
    return this.sent.length === 0
  }

  access(
    page: number,
    access: Access,
    { pin = false, write = undefined as number | undefined, file = FILE } = {}
  ): Waiter {
    const waiter: Waiter = {
      state: 'waiting',
      error: undefined,
      bytes: undefined,
      page: undefined,
      withdraw: () => {},
      unpin: () => {}
    }
    waiter.withdraw = this.core.access(file, page, {
      access,
      pin,
      run: (bytes, pinned) => {
        if (waiter.state !== 'waiting') throw new Error(`a waiter that has ${waiter.state} was run`)
        waiter.state = 'ran'
        waiter.bytes = bytes
        waiter.page = pinned
        // The whole page: a page with few changes leaves as a diff.
        if (write !== undefined) bytes.fill(write)
      },
      fail: (error) => {
        if (waiter.state !== 'waiting') throw new Error(`a waiter that has ${waiter.state} was failed`)
        waiter.state = 'failed'
        waiter.error = error
      }
    })
    waiter.unpin = () => {
      this.core.unpin(waiter.page!, access)
      this.drain()
    }
    this.drain()
    return waiter
  }

  /** Reads the first byte of a page, or returns undefined if the read needs the leader. */
  peek(page: number): number | undefined {
    const waiter = this.access(page, 'read')
    if (waiter.state === 'ran') return waiter.bytes![0]
    waiter.withdraw()
    return undefined
  }

  grant(fault: ClientMessageOf<'fault'>, init: GrantInit = {}): void {
    const { value = 0, version = 10, ...rest } = init
    const { req, file, page, access } = fault
    const owner = access === 'write'
    const whole = new Uint8Array(PAGE)
    whole[0] = value
    const bytes = 'bytes' in init ? init.bytes : whole
    const named = owner ? { epoch: 1, seq: 0 } : { epoch: 0, seq: 0 }
    this.receive({
      type: 'grant',
      term: this.term,
      req,
      file,
      page,
      access,
      owner,
      ...named,
      discard: 0,
      pages: [{ version, bytes }],
      ...rest
    })
  }

  /** Faults a page and answers with a grant. */
  have(page: number, access: Access, init: GrantInit & { write?: number } = {}): void {
    const { write, ...grant } = init
    this.access(page, access, { write })
    this.grant(this.take('fault'), grant)
  }

  order(type: Order['type'], page: number, { op = 1, after = 0, term = this.term } = {}): void {
    // The order arrives long after the grant, so that the client does not hold the page any longer.
    this.advance(100)
    this.receive({ type, term, op, file: FILE, page, count: 1, after })
  }

  acknowledge(
    writeback: Pick<ClientMessageOf<'writeback'>, 'req' | 'pages'>,
    { version = 20, result = 'stored', seq }: { version?: number; result?: WriteResult; seq?: number } = {}
  ): void {
    const pages = writeback.pages.map((page) => ({
      file: page.file,
      page: page.page,
      epoch: page.epoch,
      seq: seq ?? page.seq,
      version: result === 'stored' ? version : 0,
      result
    }))
    this.receive({ type: 'writebackAck', term: this.term, req: writeback.req, pages })
  }

  advance(ms: number): void {
    this.now += ms
    this.core.advance(this.now)
    this.drain()
  }

  receive(message: Parameters<Coherence['receive']>[0]): void {
    this.core.receive(message)
    this.drain()
  }

  flush(first: number, last = first, file = FILE) {
    const flush = { count: 0, done: 0, errors: [] as Error[] }
    flush.count = this.core.flush(
      file,
      first,
      last,
      () => flush.done++,
      (error) => flush.errors.push(error)
    )
    this.drain()
    return flush
  }

  lose(): readonly LostRange[] {
    let ranges: readonly LostRange[] = []
    this.core.sessionLost((lost) => {
      ranges = lost
      return new Error('the session is gone')
    })
    this.drain()
    return ranges
  }

  isWanted(index: number): boolean {
    return this.page(index)?.demotion !== undefined
  }

  page(index: number) {
    for (const page of this.core.pages()) if (page.index === index) return page
    return undefined
  }

  drain(): void {
    for (const effect of this.core.effects()) if (effect.type === 'send') this.sent.push(effect)
  }
}
