/** A peer that is its own majority, with disks in memory and virtual time. */
import { createMemoryDisk, type MemoryDisk } from '@quire/raft'
import { FakeClock, FakeNet } from '@quire/testing'
import type { Logger } from 'pino'
import { createMemoryStorage, type MemoryStorage } from '../../src/pages/index.js'
import { normalizeCluster } from '../../src/peer/cluster.js'
import { foundingDigest } from '../../src/peer/founding.js'
import { createMemoryIdentity } from '../../src/peer/memory-identity.js'
import { openPeerCore, type PeerCore } from '../../src/peer/peer-core.js'
import type { ReplicaLimits, ReplicaStorage } from '../../src/peer/replica.js'
import { encodeCommand, type ReplicatedConfig } from '../../src/state/commands.js'

export const LONE = '12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp'

const CLUSTER = normalizeCluster({
  clusterId: 'blue',
  voters: [{ peerId: LONE, addresses: ['/ip4/127.0.0.1/tcp/1'] }],
  admins: [],
  clients: 'any'
})

export class LonePeer {
  readonly clock = new FakeClock()
  readonly net = new FakeNet()
  readonly disk: MemoryDisk = createMemoryDisk({
    schedule: (delayMs, callback) => this.clock.schedule(delayMs, callback)
  })
  readonly pages: MemoryStorage = createMemoryStorage({ schedule: (callback) => this.clock.schedule(1, callback) })
  readonly fatal: Error[] = []
  core!: PeerCore

  constructor(
    private readonly cluster: ReplicatedConfig = CLUSTER,
    private readonly logger?: Logger
  ) {}

  async start(replicaLimits: ReplicaLimits = {}): Promise<this> {
    const opening = this.open(replicaLimits)
    await this.clock.advance(100)
    this.core = await opening
    this.core.connect(this.net.node(LONE), ['/ip4/127.0.0.1/tcp/1'])
    await this.clock.advance(2000)
    return this
  }

  open(replicaLimits: ReplicaLimits = {}, storage = this.storage()): Promise<PeerCore> {
    let chance = 0
    return openPeerCore(
      { storage, clock: this.clock, random: { next: () => (++chance * 0.618) % 1 } },
      {
        id: LONE,
        cluster: this.cluster,
        logger: this.logger,
        replicaLimits,
        onFatal: (error) => this.fatal.push(error)
      }
    )
  }

  storage(): ReplicaStorage {
    let bootstrapped = false
    const identity = createMemoryIdentity({ incarnation: 'first' })
    return Object.assign(identity, {
      clusterId: 'blue',
      founding: foundingDigest(this.cluster),
      joinedCluster: undefined,
      get bootstrapped() {
        return bootstrapped
      },
      completeBootstrap: () => (bootstrapped = true),
      logPath: 'log',
      pagesPath: 'pages',
      openLogDisk: () => this.disk,
      pages: this.pages
    })
  }

  /** Proposes `count` entries that each add a record to what is stored. */
  store(count: number): void {
    for (let i = 0; i < count; i++) {
      this.core.root.node!.propose(
        encodeCommand({ type: 'openSession', clientId: `client-${i}`, ttlMs: 600_000, at: 0 })
      )
    }
  }

  /** Proposes a session that creates `count` empty files, which stay when the server ends it. */
  createFiles(count: number): void {
    const node = this.core.root.node!
    const opening = encodeCommand({ type: 'openSession', clientId: 'creator', ttlMs: 600_000, at: 0 })
    const { index: session } = node.propose(opening)
    const file = { create: true, exclusive: true, size: 0, pageSize: 0, unit: undefined }
    for (let seq = 1; seq <= count; seq++) {
      node.propose(
        encodeCommand({ type: 'open', session, seq, settled: seq, at: 0, path: `/${session}-${seq}`, ...file })
      )
    }
  }

  /** Lets time pass until the promise has settled. Fails if it does not settle within `ms`. */
  async within<T>(ms: number, promise: Promise<T>): Promise<T> {
    let settled = false
    const watched = promise.finally(() => (settled = true))
    watched.catch(() => {})
    for (let passed = 0; passed < ms && !settled; passed += 10) await this.clock.advance(10)
    if (!settled) throw new Error(`it has not settled within ${ms} ms`)
    return watched
  }
}
