/** A peer's page store with its snapshots, on rows in memory and in virtual time. */
import type { NoSpaceError, RaftSnapshot } from '@quire/protocol'
import type { FakeClock } from '@quire/testing'
import {
  createApplier,
  createMemoryStorage,
  createPageStore,
  Snapshots,
  type Applier,
  type ApplierInit,
  type Backend,
  type BackendStorage,
  type MemoryStorage,
  type SnapshotLimits
} from '../../src/pages/index.js'
import { writebackLog } from '../state-helpers.js'
import { countViews } from './counted-views.js'

export interface SnapshotPeerInit extends Partial<Omit<ApplierInit, 'store' | 'clock'>> {
  readonly limits?: Partial<SnapshotLimits>
  /** Rows in memory that outlive their process. Default: new ones, whose disk takes `diskMs`. */
  readonly memory?: MemoryStorage
  /** In the place of rows in memory. */
  readonly storage?: BackendStorage
  /** Whether the storage takes real time. Virtual time then stands still. */
  readonly isReal?: boolean
}

export function snapshotAt(index: number): RaftSnapshot {
  return { index, term: 3, configuration: { index: 1, term: 1, kind: 'config', data: Uint8Array.of(1, 2) } }
}

export class SnapshotPeer {
  readonly applier: Applier
  readonly snapshots: Snapshots
  /** How long a commit or an adoption that begins now will take. */
  diskMs = 1
  /** The sizes of the log's entries, by index. */
  readonly entryBytes = new Map<number, number>()
  /** The part of the pages' file that rows do not take. */
  unusedBytes = 0
  /** What each follower has on its disk, as Raft knows it. */
  readonly matchIndexes = new Map<string, number>()
  /** The followers that are no members any longer. */
  readonly removed = new Set<string>()
  /** Views of the rows that are open. */
  openViews = 0
  /** Checkpoints, installations and faults, in order. */
  readonly events: string[] = []
  readonly memory: MemoryStorage
  readonly storage: BackendStorage
  private readonly isReal: boolean

  constructor(
    readonly clock: FakeClock,
    { limits, memory, storage, isReal = false, ...init }: SnapshotPeerInit = {}
  ) {
    this.isReal = isReal
    this.memory = memory ?? createMemoryStorage({ schedule: (callback) => clock.schedule(this.diskMs, callback) })
    this.storage = this.counting(storage ?? this.memory)
    this.applier = createApplier({
      store: createPageStore({ backend: this.storage.open() }),
      clock,
      onCheckpoint: (index) => this.events.push(`checkpoint ${index}`),
      onFault: (fault) => this.events.push(`pages: ${fault?.name ?? 'room'}`),
      ...init
    })
    this.snapshots = new Snapshots({
      storage: this.storage,
      applier: this.applier,
      clock,
      indexBefore: (bytes) => this.indexBefore(bytes),
      matchIndex: (follower) => (this.removed.has(follower) ? undefined : (this.matchIndexes.get(follower) ?? 0)),
      newest: undefined,
      limits,
      onFault: (fault: NoSpaceError | undefined) => this.events.push(`snapshot: ${fault?.name ?? 'room'}`),
      onInstalled: ({ index }) => this.events.push(`installed ${index}`),
      onReleased: () => this.events.push(`released to ${this.snapshots.heldIndex ?? this.applier.durableIndex}`)
    })
  }

  get digest(): string {
    return this.applier.state.digest()
  }

  /** Applies the log of `writebackLog` up to that many pages, and makes a checkpoint. Returns its index. */
  async hold(pages: number): Promise<number> {
    await this.applier.apply(writebackLog(pages))
    await this.run(this.applier.checkpoint())
    return this.applier.durableIndex
  }

  read(to: string, index: number, offset: number, maxBytes = 6_000) {
    return this.run(this.snapshots.read(to, index, offset, maxBytes))
  }

  /** Reads all pieces for a follower, and calls `take` with each of them before it reads the next one. */
  async send(
    to: string,
    index: number,
    take: (offset: number, data: Uint8Array) => Promise<void>,
    maxBytes?: number
  ): Promise<void> {
    for (let offset = 0, isDone = false; !isDone;) {
      const piece = await this.read(to, index, offset, maxBytes)
      if (piece === undefined) throw new Error(`the snapshot at ${index} is gone at ${offset}`)
      await take(offset, piece.data)
      offset += piece.data.length
      isDone = piece.done
    }
  }

  /** Receives all pieces of the snapshot at `index` from a leader, without installing it. */
  receive(leader: SnapshotPeer, index: number): Promise<void> {
    return leader.send('follower', index, (offset, data) => this.write(index, offset, data))
  }

  write(index: number, offset: number, data: Uint8Array): Promise<void> {
    return this.run(this.snapshots.write(snapshotAt(index), offset, data))
  }

  install(index: number): Promise<void> {
    return this.run(this.snapshots.install(snapshotAt(index)))
  }

  /** Lets time pass until the promise has settled. */
  async run<T>(work: Promise<T>): Promise<T> {
    if (this.isReal) return work
    let isOver = false
    const watched = work.finally(() => (isOver = true))
    watched.catch(() => {})
    if (!(await this.clock.until(() => isOver))) throw new Error('it does not settle')
    return watched
  }

  async close(): Promise<void> {
    this.snapshots.stop()
    await this.run(this.snapshots.close())
    await this.run(this.applier.close())
  }

  private indexBefore(bytes: number): number {
    let left = bytes
    for (const [index, size] of [...this.entryBytes].toReversed()) {
      left -= size
      if (left <= 0) return index - 1
    }
    return 0
  }

  private measured(backend: Backend): Backend {
    const usage = backend.usage.bind(backend)
    backend.usage = () => {
      const { fileBytes, usedBytes } = usage()
      return { fileBytes: fileBytes + this.unusedBytes, usedBytes }
    }
    return backend
  }

  private counting(storage: BackendStorage): BackendStorage {
    return {
      open: () => this.measured(countViews(storage.open(), (change) => (this.openViews += change))),
      openIncoming: () => storage.openIncoming(),
      adoptIncoming: () => storage.adoptIncoming()
    }
  }
}
