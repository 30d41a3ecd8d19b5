/** A scripted peer, which leads, redirects or refuses, and holds back the answers that a test selects. */
import {
  DEFAULT_ROUND_TRIP_MS,
  FEATURES,
  PROTOCOL_BULK,
  PROTOCOL_CONTROL,
  FileExistsError,
  DEFAULT_PAGE_BYTES,
  InvalidArgumentError,
  NoSpaceError,
  NoSuchFileError,
  clientMessage,
  decodeFrame,
  encodeFrame,
  errorToWire,
  leaderMessage,
  type ClientMessage,
  type ClientMessageOf,
  type LeaderMessage,
  type LeaderMessageOf,
  type QuireError,
  type Role,
  type WireFileStat,
  patchPage
} from '@quire/protocol'
import type { FakeNet, FakeStream } from '@quire/testing'

export const PEERS = [
  '12D3KooWLB4Y2B1WWUkG8WKeoy47PRPqu3z6cHUq7s1Yi4jHJP8p',
  '12D3KooWSac9ohqq5YKP2wMWmrJJKzdsaH1iCxiEzKCq6h457rV1',
  '12D3KooWDPUFsoea65QzTWiTW77Ew8b9uUWfB7o1MqFsApMzMD4S'
] as const

export function addressOf(peerId: string): string {
  return `/ip4/192.0.2.${1 + PEERS.indexOf(peerId as never)}/tcp/4001/p2p/${peerId}`
}

/** The digest of the founding configuration of the cluster. */
export const FOUNDING = 'f'.repeat(64)

/** The state that survives a change of leader: sessions, files and pages. */
export class FakeCluster {
  readonly id = 'blue'
  readonly founding = FOUNDING
  readonly sessions = new Map<number, { readonly ttlMs: number }>()
  readonly files = new Map<string, WireFileStat>()
  /** Unnamed files by number. */
  readonly unnamed = new Map<number, WireFileStat>()
  readonly pages = new Map<string, { version: number; epoch: number; seq: number; bytes: Uint8Array }>()
  /** The numbers of the mapped files. */
  readonly mapped = new Set<number>()
  /** Earlier answers by seq. The leader answers a repeated request from here instead of carrying it out again. */
  readonly answers = new Map<number, LeaderMessage>()
  nextId = 1
  nextFile = 100

  expire(): void {
    this.sessions.clear()
    this.mapped.clear()
    this.unnamed.clear()
    this.answers.clear()
  }
}

export interface Received {
  readonly lane: 'control' | 'bulk'
  readonly message: ClientMessage
}

type Type = ClientMessage['type']

export class FakePeer {
  term = 1
  /** The role that its redirects state. */
  role: Role = 'follower'
  roundTripMs = DEFAULT_ROUND_TRIP_MS
  creditBytes = 1024 * 1024
  maxFaults = 256
  /** The answer to a hello, in place of a welcome. */
  greeting: LeaderMessage | undefined
  /** The answer to a register, in place of `registered`. */
  registration: LeaderMessage | undefined
  /** The types of the messages that the peer records but does not answer. */
  readonly holding = new Set<Type>()
  /** The peer refuses a writeback with such a page, with NoSpaceError. */
  refuses: (page: { readonly file: number }) => boolean = () => false
  /** The recorded messages that wait for an answer. */
  private held: ClientMessage[] = []
  /** All received messages of all connections. */
  readonly received: Received[] = []
  /** The messages that the peer sends right behind `registered`, in the same turn. */
  behindRegistered: LeaderMessage[] = []
  /** While set, the peer confirms no bytes received on bulk, as on a slow line. */
  isBulkUnread = false
  private bulkBytes = 0
  control: FakeStream | undefined
  bulk: FakeStream | undefined
  connections = 0
  session = 0

  constructor(
    readonly net: FakeNet,
    readonly cluster: FakeCluster,
    readonly id: string
  ) {
    net.listen(id, PROTOCOL_CONTROL, (stream) => {
      this.control = stream
      this.accept(stream, 'control')
    })
    net.listen(id, PROTOCOL_BULK, (stream) => {
      this.bulk = stream
      this.accept(stream, 'bulk')
    })
  }

  /** The received messages of one type, of all connections. */
  of<T extends Type>(type: T): ClientMessageOf<T>[] {
    return this.received
      .map(({ message }) => message)
      .filter((message) => message.type === type) as ClientMessageOf<T>[]
  }

  last<T extends Type>(type: T): ClientMessageOf<T> {
    const message = this.of(type).at(-1)
    if (message === undefined) throw new Error(`no ${type} has arrived`)
    return message
  }

  send(message: LeaderMessage, lane: 'control' | 'bulk' = 'control'): void {
    this[lane]?.send(encodeFrame(leaderMessage, message, 0))
  }

  /** Confirms all bytes received on bulk, and from now on confirms bytes as they arrive. */
  readBulk(): void {
    this.isBulkUnread = false
    this.send({ type: 'bulkReceived', bytes: this.bulkBytes })
  }

  /** Breaks the connection. */
  cut(): void {
    this.control?.abort(new Error('cut'))
    this.bulk?.abort(new Error('cut'))
  }

  redirect(leader: string): void {
    this.send(this.redirection(leader))
    this.control?.close()
  }

  redirection(leader: string): LeaderMessageOf<'redirect'> {
    const { term, role, roundTripMs } = this
    const { id: clusterId, founding } = this.cluster
    return { type: 'redirect', clusterId, founding, term, role, leader, members: this.members(), roundTripMs }
  }

  /** Answers the held messages of this type, and holds no further ones. */
  release(type: Type): void {
    this.holding.delete(type)
    while (this.releaseNext(type));
  }

  /** Answers the oldest held message of this type. Returns false if there is none. */
  releaseNext(type: Type): boolean {
    const next = this.held.find((message) => message.type === type)
    if (next === undefined) return false
    this.held = this.held.filter((message) => message !== next)
    this.answer(next)
    return true
  }

  /** Answers one message like a leader that has no other clients. */
  answer(message: ClientMessage): void {
    switch (message.type) {
      case 'hello':
        return this.greet(message)
      case 'register':
        return this.register(message)
      case 'ping':
        return this.send({ type: 'pong' })
      case 'keepAlive':
        return this.send({ type: 'keepAliveAck', term: this.term, nonce: message.nonce })
      case 'open':
        return this.once(message.seq, () => this.open(message))
      case 'createUnnamed':
        return this.once(message.seq, () => {
          const stat = this.newFile('', message)
          this.cluster.unnamed.set(stat.id, stat)
          this.cluster.mapped.add(stat.id)
          return { type: 'opened', seq: message.seq, stat }
        })
      case 'link':
        return this.once(message.seq, () => {
          this.cluster.files.set(message.path, { ...this.file(message.file), path: message.path })
          this.cluster.unnamed.delete(message.file)
          return { type: 'done', seq: message.seq }
        })
      case 'close':
        return this.once(message.seq, () => {
          this.cluster.mapped.delete(message.file)
          this.cluster.unnamed.delete(message.file)
          return { type: 'done', seq: message.seq }
        })
      case 'extend':
        return this.once(message.seq, () => {
          const stat = this.file(message.file)
          const grown = { ...stat, size: Math.max(stat.size, message.size) }
          if (stat.path === '') this.cluster.unnamed.set(stat.id, grown)
          else this.cluster.files.set(stat.path, grown)
          return { type: 'done', seq: message.seq }
        })
      case 'endSession':
        this.cluster.expire()
        return this.send({ type: 'done', seq: message.seq })
      case 'stat':
      case 'statFile': {
        const stat = message.type === 'stat' ? this.cluster.files.get(message.path) : this.file(message.file)
        if (stat === undefined && message.type === 'stat')
          return this.fail(message.seq, new NoSuchFileError(message.path))
        return this.send({ type: 'files', seq: message.seq, files: stat === undefined ? [] : [stat], done: true })
      }
      case 'list': {
        const { prefix, after, limit, seq } = message
        const paths = [...this.cluster.files.keys()]
          .filter((path) => path.startsWith(prefix) && path > after)
          .toSorted()
        const files = paths.slice(0, limit).map((path) => this.cluster.files.get(path)!)
        return this.send({ type: 'files', seq, files, done: paths.length <= limit })
      }
      case 'fault':
        return this.grant(message)
      case 'writeback': {
        if (!message.pages.some((page) => this.refuses(page))) return this.acknowledge(message)
        const error = errorToWire(new NoSpaceError('peer'))
        return this.send({ type: 'writebackFailed', term: this.term, req: message.req, error })
      }
      default:
    }
  }

  grant({ req, file, page, access, have }: ClientMessageOf<'fault'>): void {
    const stored = this.page(file, page)
    const owner = access === 'write' || stored.epoch > 0
    if (access === 'write' && stored.epoch === 0) stored.epoch = 1
    const bytes = have !== 0 && have === stored.version ? undefined : stored.bytes
    const { version, epoch, seq } = stored
    const named = owner ? { epoch, seq } : { epoch: 0, seq: 0 }
    this.send(
      {
        type: 'grant',
        term: this.term,
        req,
        file,
        page,
        access,
        owner,
        ...named,
        discard: 0,
        pages: [{ version, bytes }]
      },
      bytes === undefined ? 'control' : 'bulk'
    )
  }

  acknowledge({ req, pages }: ClientMessageOf<'writeback'>): void {
    const outcomes = pages.map(({ file, page, epoch, seq, ranges, bytes }) => {
      const stored = this.page(file, page)
      const before = stored.bytes.length === 0 ? new Uint8Array(DEFAULT_PAGE_BYTES) : stored.bytes
      const after = ranges === undefined ? bytes.slice() : before.slice()
      if (ranges !== undefined) patchPage(after, { ranges, bytes })
      Object.assign(stored, { version: stored.version + 1, seq, bytes: after })
      return { file, page, epoch, seq, version: stored.version, result: 'stored' as const }
    })
    this.send({ type: 'writebackAck', term: this.term, req, pages: outcomes })
  }

  fail(seq: number, error: QuireError): void {
    this.send(failed(seq, error))
  }

  page(file: number, page: number) {
    const key = `${file}:${page}`
    let stored = this.cluster.pages.get(key)
    if (stored === undefined)
      this.cluster.pages.set(key, (stored = { version: 0, epoch: 0, seq: 0, bytes: new Uint8Array(0) }))
    return stored
  }

  private accept(stream: FakeStream, lane: 'control' | 'bulk'): void {
    let bytes = 0
    stream.onFrame = (frame) => {
      const { message } = decodeFrame(clientMessage, frame)
      if (lane === 'bulk' && message.type !== 'hello') {
        bytes += frame.length + 4
        this.bulkBytes = bytes
        if (!this.isBulkUnread) this.send({ type: 'bulkReceived', bytes })
      }
      for (const page of pagesOf(message)) {
        this.received.push({ lane, message: page })
        if (this.holding.has(page.type)) this.held.push(page)
        else this.answer(page)
      }
    }
  }

  private greet(hello: ClientMessageOf<'hello'>): void {
    if (hello.lane === 'bulk') return this.send({ type: 'attached' }, 'bulk')
    this.connections++
    if (this.greeting !== undefined) {
      this.send(this.greeting)
      return this.control!.close()
    }
    this.send({
      type: 'welcome',
      version: 1,
      features: FEATURES,
      clusterId: this.cluster.id,
      founding: this.cluster.founding,
      term: this.term,
      leader: this.id,
      members: this.members(),
      roundTripMs: this.roundTripMs,
      attach: 7
    })
  }

  private register({ session, ttlMs }: ClientMessageOf<'register'>): void {
    if (this.registration !== undefined) return this.send(this.registration)
    const { cluster, term, creditBytes, maxFaults } = this
    const id = session === 0 ? cluster.nextId++ : session
    if (session === 0) cluster.sessions.set(id, { ttlMs })
    const record = cluster.sessions.get(id)
    if (record === undefined) return this.send({ type: 'expired', session: id })
    this.session = id
    this.send({ type: 'registered', term, session: id, ttlMs: record.ttlMs, creditBytes, maxFaults })
    for (const message of this.behindRegistered.splice(0)) this.send(message)
  }

  private once(seq: number, perform: () => LeaderMessage): void {
    const answer = this.cluster.answers.get(seq) ?? perform()
    this.cluster.answers.set(seq, answer)
    this.send(answer)
  }

  private open({ seq, path, create, exclusive, size, pageSize }: ClientMessageOf<'open'>): LeaderMessage {
    const { cluster } = this
    let stat = cluster.files.get(path)
    if (stat === undefined && !create) return failed(seq, new NoSuchFileError(path))
    if (stat !== undefined && exclusive) return failed(seq, new FileExistsError(path))
    if (stat !== undefined && pageSize !== 0 && pageSize !== stat.pageSize) {
      return failed(seq, new InvalidArgumentError('pageSize', pageSize, `${stat.pageSize}, as the file has`))
    }
    if (stat === undefined) {
      stat = this.newFile(path, { size, pageSize })
      cluster.files.set(path, stat)
    }
    cluster.mapped.add(stat.id)
    return { type: 'opened', seq, stat }
  }

  private newFile(path: string, { size, pageSize }: { size: number; pageSize: number }): WireFileStat {
    const id = this.cluster.nextFile++
    const times = { createdAt: 0, modifiedAt: 0 }
    return { id, path, size, pageSize: pageSize || 4096, unit: 'page', version: 1, discards: 0, ...times }
  }

  private file(id: number): WireFileStat {
    for (const stat of [...this.cluster.files.values(), ...this.cluster.unnamed.values()])
      if (stat.id === id) return stat
    throw new Error(`no file ${id}`)
  }

  private members() {
    return PEERS.map((peerId) => ({ peerId, addresses: [addressOf(peerId)] }))
  }
}

/** The messages that a run of faults stands for. */
function pagesOf(message: ClientMessage): ClientMessage[] {
  if (message.type !== 'fault') return [message]
  const { req, page, count } = message
  return Array.from({ length: count }, (_, i) => ({ ...message, req: req + i, page: page + i, count: 1 }))
}

function failed(seq: number, error: QuireError): LeaderMessage {
  return { type: 'failed', seq, error: errorToWire(error) }
}
