/** The links of one peer on a fake network. Its identity is in memory and outlives its process. */
import { AddressBook } from '@quire/net'
import type { RaftMessage } from '@quire/protocol'
import type { FakeClock, FakeNet } from '@quire/testing'
import { Writable } from 'node:stream'
import pino from 'pino'
import { createPeerIdentity, type PeerIdentity } from '../../src/peer/identity.js'
import { createMemoryIdentity, type MemoryIdentity } from '../../src/peer/memory-identity.js'
import { createPeerLinks, type Acknowledged, type PeerLinks } from '../../src/peer/peer-links.js'
import { NOTHING_CHANGED, type ReplicatedConfig } from '../../src/state/commands.js'

export function founded(ids: readonly string[], change: Partial<ReplicatedConfig> = {}): ReplicatedConfig {
  const members = ids.map((peerId) => ({
    peerId,
    incarnation: '',
    addresses: [`/ip4/127.0.0.1/tcp/1/p2p/${peerId}`]
  }))
  return { clusterId: 'blue', members, admins: [], clients: undefined, roundTripMs: 32, ...NOTHING_CHANGED, ...change }
}

export interface LogLine {
  readonly level: number
  readonly msg: string
  readonly peer?: string
  readonly reason?: string
  readonly downMs?: number
  readonly refusals?: number
}

export interface LinkedPeerInit {
  readonly net: FakeNet
  readonly clock: FakeClock
  readonly config: ReplicatedConfig
  /** Default: a folder that was admitted. */
  readonly folder?: MemoryIdentity
}

export function folderOf(incarnation: string, admitted = true): MemoryIdentity {
  const folder = createMemoryIdentity({ incarnation })
  if (admitted) folder.admit()
  return folder
}

let processes = 0

export class LinkedPeer {
  readonly received: string[] = []
  /** What members have told of their states. */
  readonly states: string[] = []
  readonly logged: LogLine[] = []
  readonly folder: MemoryIdentity
  readonly book = new AddressBook()
  /** The addresses at which its newest process listens. */
  address = ''
  /** The durable end of its log. */
  log = { term: 1, lastTerm: 1, lastIndex: 1 }
  /** The part of its log that it knows to be committed. */
  settled = { term: 0, lastTerm: 0, lastIndex: 0 }
  /** The entries that its followers have acknowledged, while it leads. */
  acknowledged: Acknowledged[] = []
  /** Its quorum rounds succeed at once. */
  leads = false
  identity!: PeerIdentity
  links!: PeerLinks

  constructor(
    readonly id: string,
    private readonly init: LinkedPeerInit
  ) {
    this.folder = init.folder ?? folderOf(`folder of ${id}`)
  }

  /** Starts a process on the folder. */
  async start(): Promise<this> {
    const { net, clock, config } = this.init
    const process = ++processes
    const random = { next: () => (process * 0.0137) % 1 }
    this.identity = await createPeerIdentity({
      id: this.id,
      storage: this.folder,
      founding: config,
      random,
      durableMark: () => this.log,
      committedMark: () => this.settled
    })
    this.address = `/ip4/127.0.0.1/tcp/${4000 + process}/p2p/${this.id}`
    this.links = createPeerLinks({
      network: net.node(this.id),
      clock,
      random: { next: () => 0 },
      identity: this.identity,
      addresses: [this.address],
      book: this.book,
      stepMs: () => 2400,
      receive: (group, from, message) => this.received.push(`${group} ${from} ${message.type}`),
      acknowledged: () => this.acknowledged,
      confirmLeadership: () => (this.leads ? Promise.resolve() : undefined),
      join: () => Promise.reject(new Error('no peer of this test joins')),
      heardState: (member, { index, hash }) => this.states.push(`${member}: ${index} ${hash}`),
      logger: pino({ level: 'debug' }, collector(this.logged)),
      maxQueuedBytes: 1000
    })
    this.links.configure(config)
    return this
  }

  send(to: string, message: RaftMessage = HEARTBEAT): void {
    this.links.send(0, to, message)
  }

  /** Its log lines at the given level or above. */
  errors(): string[] {
    return this.logged.filter(({ level }) => level >= 50).map(({ reason, msg }) => reason ?? msg)
  }
}

export const HEARTBEAT: RaftMessage = { type: 'heartbeat', term: 1, commit: 0, round: 1 }

export function collector(lines: object[]): Writable {
  return new Writable({
    write(chunk, _encoding, done) {
      lines.push(JSON.parse(String(chunk)) as object)
      done()
    }
  })
}
