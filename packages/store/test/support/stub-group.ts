/** A group server over the real state machine. The test decides when its Raft node commits. */
import {
  FEATURES,
  PROTOCOL_BULK,
  PROTOCOL_CONTROL,
  PROTOCOL_VERSION,
  clientMessage,
  decodeFrame,
  encode,
  encodeFrame,
  leaderMessage,
  type ClientMessage,
  type ClientMessageOf,
  type Features,
  type LeaderMessage,
  type LeaderMessageOf,
  type Member
} from '@quire/protocol'
import { NotLeaderError } from '@quire/raft'
import { FakeClock, FakeNet, type FakeStream, settle } from '@quire/testing'
import {
  createGroupServer,
  createSessionServer,
  type RaftPortStatus,
  type ServerLimits,
  type SessionServerInit
} from '../../src/server/index.js'
import {
  NOTHING_CHANGED,
  clusterConfig,
  decodeCommand,
  type Command,
  type ReplicatedConfig
} from '../../src/state/commands.js'
import type { StateStore, StoredPage } from '../../src/state/records.js'
import { createStateMachine } from '../../src/state/state-machine.js'

export const PEER = 'peer-1'
export const OTHER = 'peer-2'
export const FOUNDING = 'f'.repeat(64)
export const MEMBERS: Member[] = [
  { peerId: PEER, addresses: ['/ip4/127.0.0.1/tcp/1'] },
  { peerId: OTHER, addresses: ['/ip4/127.0.0.1/tcp/2'] }
]
export const CONFIG: ReplicatedConfig = {
  clusterId: 'blue',
  members: MEMBERS.map((member) => ({ ...member, incarnation: '' })),
  admins: [],
  clients: undefined,
  roundTripMs: 32,
  ...NOTHING_CHANGED
}

function memoryStore(): StateStore {
  const pages = new Map<number, Map<number, StoredPage>>()
  return {
    read: (file: number, page: number) => pages.get(file)?.get(page),
    version: (file: number, page: number) => pages.get(file)?.get(page)?.version ?? 0,
    pages: (file: number) => [...(pages.get(file)?.keys() ?? [])].sort((a, b) => a - b),
    write: (file: number, page: number, stored: StoredPage) => {
      if (!pages.has(file)) pages.set(file, new Map())
      pages.get(file)!.set(page, stored)
    },
    remove: (file: number, first: number, end: number) => {
      for (const page of [...(pages.get(file)?.keys() ?? [])]) {
        if (page >= first && page < end) pages.get(file)!.delete(page)
      }
    },
    lose: (file: number, page: number) => void pages.get(file)?.delete(page),
    put: () => {}
  } as StateStore
}

/** What the peer around the group answers to an admin. */
type AdminAnswers = { -readonly [K in 'access' | 'mayServe' | 'roster' | 'administer']: SessionServerInit[K] }

export function createStubGroup(limits: Partial<ServerLimits> = {}) {
  const clock = new FakeClock()
  const net = new FakeNet()
  const machine = createStateMachine(memoryStore())
  const fatal: Error[] = []
  let status: RaftPortStatus & { role: 'leader' | 'follower' } = {
    role: 'follower',
    term: 0,
    ready: false,
    leader: undefined
  }
  let queue: { index: number; data: Uint8Array }[] = []
  let nextIndex = 1
  let quorum = true
  let full = false
  let autoCommit = true
  const reads: (() => void)[] = []
  let chance = 0
  let members = MEMBERS
  let membersVersion = 1
  const answers: AdminAnswers = {
    access: () => CONFIG,
    mayServe: () => true,
    roster: () => undefined,
    administer: () => Promise.reject(new NotLeaderError(PEER, undefined))
  }

  const raft = {
    status: () => status,
    propose(data: Uint8Array) {
      if (status.role !== 'leader') throw Object.assign(new Error('not the leader'), { name: 'NotLeaderError' })
      if (full) throw Object.assign(new Error('full'), { name: 'BackPressureError' })
      const index = nextIndex++
      queue.push({ index, data })
      if (autoCommit) queueMicrotask(() => group.commit())
      return { index, term: status.term }
    },
    readIndex: () =>
      new Promise<number>((resolve, reject) => {
        const answer = (): void =>
          status.role === 'leader' ? resolve(machine.appliedIndex) : reject(new Error('deposed'))
        if (quorum) queueMicrotask(answer)
        else reads.push(answer)
      })
  }
  const server = createGroupServer({
    whenRepaired: () => () => {},
    group: 0,
    self: PEER,
    founding: FOUNDING,
    cluster: () => machine.config ?? CONFIG,
    members: () => members,
    membersVersion: () => membersVersion,
    raft,
    view: machine,
    clock,
    random: { next: () => (++chance * 0.618) % 1 },
    limits,
    onFatal: (error) => fatal.push(error)
  })
  const sessionServer = createSessionServer({
    network: net.node(PEER),
    clock,
    groups: [server],
    limits,
    access: () => answers.access(),
    mayServe: (remote) => answers.mayServe(remote),
    roster: () => answers.roster(),
    administer: (by, founding, change) => answers.administer(by, founding, change),
    status: () => ({
      clusterId: 'blue',
      founding: FOUNDING,
      id: PEER,
      admitted: true,
      quarantined: [],
      role: status.role,
      term: status.term,
      leader: status.leader ?? '',
      lastIndex: nextIndex - 1,
      commitIndex: nextIndex - 1,
      appliedIndex: machine.appliedIndex,
      voters: MEMBERS,
      learners: [],
      roundTripMs: CONFIG.roundTripMs,
      sessions: 0,
      ownedPages: 0,
      room: 'enough',
      disk: undefined,
      store: undefined,
      repairs: { damaged: 0, repaired: 0, lost: 0 },
      sending: [],
      receiving: undefined,
      scrub: { comparison: undefined, damagedPages: 0, damagedRecords: 0 },
      stages: []
    })
  })
  const group = {
    clock,
    net,
    machine,
    server,
    sessionServer,
    fatal,
    answers,
    /** Applies an entry with a configuration. */
    found(config: ReplicatedConfig = CONFIG) {
      machine.apply(nextIndex++, 'config', encode(clusterConfig, config))
    },
    lead(term: number) {
      status = { role: 'leader', term, ready: false, leader: PEER }
      server.statusChanged()
      group.commit()
      machine.apply(nextIndex++, 'noop', new Uint8Array(0))
      status = { ...status, ready: true }
      server.statusChanged()
    },
    follow(term: number, leader?: string) {
      status = { role: 'follower', term, ready: false, leader }
      queue = []
      nextIndex = machine.appliedIndex + 1
      server.statusChanged()
    },
    commit() {
      for (const { index, data } of queue.splice(0)) {
        const outcome = machine.apply(index, 'normal', data)
        if (outcome !== undefined) server.applied(index, outcome)
      }
    },
    proposed: (): Command[] => queue.map(({ data }) => decodeCommand(data).command),
    /** A member has announced new addresses. */
    set members(changed: Member[]) {
      members = changed
      membersVersion++
    },
    set autoCommit(on: boolean) {
      autoCommit = on
    },
    set handsOver(on: boolean) {
      status = { ...status, handsOver: on }
    },
    set full(on: boolean) {
      full = on
    },
    set quorum(on: boolean) {
      quorum = on
      if (on) for (const read of reads.splice(0)) read()
    }
  }
  return group
}

export type StubGroup = ReturnType<typeof createStubGroup>

/** A request that opens a file of two pages, or creates it. */
export function openRequest(seq: number, path: string, change: Partial<ClientMessageOf<'open'>> = {}) {
  const options = { create: true, exclusive: false, size: 8192, pageSize: 0, unit: undefined }
  return { type: 'open', seq, settled: 1, path, ...options, ...change } satisfies ClientMessage
}

/** One stream of a client. It keeps all messages that it receives. */
export class TestLane {
  readonly received: LeaderMessage[] = []
  /** The bytes of all frames after the opening, lengths included. */
  bytes = 0

  constructor(readonly stream: FakeStream) {
    stream.onFrame = (frame) => {
      const { message } = decodeFrame(leaderMessage, frame)
      this.received.push(message)
      if (message.type !== 'attached') this.bytes += frame.length + 4
    }
  }

  async send(message: ClientMessage): Promise<void> {
    this.stream.send(encodeFrame(clientMessage, message))
    await settle()
  }

  last<T extends LeaderMessage['type']>(type: T): LeaderMessageOf<T> | undefined {
    return this.received.findLast((message): message is LeaderMessageOf<T> => message.type === type)
  }

  get closed(): boolean {
    return this.stream.over !== undefined
  }
}

export class TestClient {
  control!: TestLane
  bulk!: TestLane
  session = 0

  constructor(
    private readonly group: StubGroup,
    readonly id = 'client-1'
  ) {}

  async dial(protocol: string): Promise<TestLane> {
    return new TestLane(await this.group.net.dial(this.id, PEER, { protocol }))
  }

  async hello(init: { clusterId?: string; fence?: number; version?: number; features?: Features } = {}): Promise<void> {
    this.control = await this.dial(PROTOCOL_CONTROL)
    const { clusterId = '', fence = 0, version = PROTOCOL_VERSION, features = FEATURES } = init
    await this.control.send({
      type: 'hello',
      version,
      features,
      clusterId,
      founding: '',
      lane: 'control',
      fence,
      attach: 0
    })
  }

  async attach(attach = this.control.last('welcome')?.attach ?? 0): Promise<void> {
    this.bulk = await this.dial(PROTOCOL_BULK)
    await this.bulk.send({
      type: 'hello',
      version: PROTOCOL_VERSION,
      features: FEATURES,
      clusterId: '',
      founding: '',
      lane: 'bulk',
      fence: 0,
      attach
    })
  }

  async connect(session = 0, ttlMs = 2000): Promise<this> {
    await this.hello()
    await this.attach()
    await this.control.send({ type: 'register', session, ttlMs })
    this.session = this.control.last('registered')?.session ?? 0
    return this
  }
}
