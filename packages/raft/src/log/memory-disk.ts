import { assert, NoDescriptorsError, NoSpaceError } from '@quire/protocol'
import { SECTOR_BYTES, type Disk, type DiskFile, type ReadFile } from './disk.js'

export type DiskOperation = 'list' | 'create' | 'open' | 'rename' | 'remove' | 'flushDirectory' | 'write' | 'close'

export interface MemoryDiskInit {
  /** Calls `callback` later. A Clock's `schedule` fits. By default everything completes in the next microtask. */
  readonly schedule?: (delayMs: number, callback: () => void) => unknown
  /** Duration of the next operation of that kind. Default 0. */
  readonly latencyMs?: (operation: DiskOperation) => number
  /** Bytes of all files together. Beyond it, `create` rejects with NoSpaceError. Default: no limit. */
  readonly capacityBytes?: number
}

/** A disk in memory that forgets what a crash would: for tests and simulations. */
export interface MemoryDisk extends Disk {
  /** Bytes of all files together. */
  readonly usedBytes: number
  /** Number of open files: created or opened, and not closed. */
  readonly openFiles: number
  /**
   * Simulates a power loss. Each write under way keeps any set of its sectors. Of the directory changes that were not
   * flushed, the first few are kept, any number of them. A file whose creation is under way may exist, and may be too
   * short. Returns the disk as the next start finds it. This disk and its files are dead: their operations never settle
   * and reads throw, so that a program that still holds them can do no harm.
   */
  crash(random: () => number): MemoryDisk
  /**
   * A new disk with the durable content of this one: like a copy of the folder, made while nothing uses it. Without a
   * `schedule`, it shares that of this disk.
   */
  copy(schedule?: MemoryDiskInit['schedule']): MemoryDisk
  /**
   * Makes the next `count` operations of this kind fail with `error`; default 1. Of a failed write any part is written.
   * A failed flush of the directory keeps what a crash would. Other failed operations change nothing.
   */
  fail(operation: DiskOperation, error: Error, count?: number): void
  setCapacity(bytes: number): void
  /**
   * While `count` files or more are open, every operation that opens a file or the directory fails with
   * NoDescriptorsError. Default: no limit.
   */
  setDescriptors(count: number): void
  /** Changes a stored byte, as bit rot does. */
  damage(name: string, offset: number, change: (byte: number) => number): void
  /** Takes the bytes from `length` on off a file that is not open. */
  cut(name: string, length: number): void
}

interface Write {
  readonly offset: number
  readonly data: Uint8Array
}

/** The durable content of a file, and the writes that are not durable. */
interface Inode {
  readonly content: Uint8Array
  /** Writes under way. */
  readonly pending: Set<Write>
  /** Sectors, by offset, that failed writes left. Programs read them; a crash keeps any of them. */
  readonly failed: Map<number, Uint8Array>
}

export function createMemoryDisk(init: MemoryDiskInit = {}): MemoryDisk {
  return new SimulatedDisk(init, new Map())
}

/** Simulates a disk in virtual time. */
class SimulatedDisk implements MemoryDisk {
  /** The directory as programs see it. `flushed` is what a crash keeps for certain. */
  private readonly files: Map<string, Inode>
  private changes: ((files: Map<string, Inode>) => void)[] = []
  /** Number of changes that were ever flushed. */
  private flushedChanges = 0
  private alive = true
  private capacity: number
  private descriptors = Infinity
  private opened = 0
  /** Files whose creation is under way, with their future sizes. */
  private readonly creating = new Map<string, number>()
  private readonly failures: { readonly operation: DiskOperation; readonly error: Error }[] = []
  private readonly schedule: (delayMs: number, callback: () => void) => unknown
  private readonly latencyMs: (operation: DiskOperation) => number

  constructor(
    private readonly init: MemoryDiskInit,
    private readonly flushed: Map<string, Inode>
  ) {
    this.files = new Map(flushed)
    this.capacity = init.capacityBytes ?? Infinity
    this.schedule = init.schedule ?? ((_, callback) => queueMicrotask(callback))
    this.latencyMs = init.latencyMs ?? (() => 0)
  }

  get usedBytes(): number {
    let bytes = 0
    for (const inode of this.files.values()) bytes += inode.content.length
    return bytes
  }

  get openFiles(): number {
    return this.opened
  }

  list(): Promise<string[]> {
    return this.later('list', () => {
      this.needDescriptor('.')
      return [...this.files.keys()].sort()
    })
  }

  create(name: string, bytes: number): Promise<DiskFile> {
    if (this.alive) this.creating.set(name, bytes)
    const created = this.later('create', () => {
      this.needDescriptor(name)
      if (this.files.has(name)) throw new Error(`${name} exists`)
      if (this.usedBytes + bytes > this.capacity) throw new NoSpaceError(name)
      const inode: Inode = { content: new Uint8Array(bytes), pending: new Set(), failed: new Map() }
      this.change((files) => files.set(name, inode))
      return this.handle(inode)
    })
    const end = () => void this.creating.delete(name)
    created.then(end, end)
    return created
  }

  open(name: string): Promise<DiskFile> {
    return this.later('open', () => {
      this.needDescriptor(name)
      return this.handle(this.inode(name))
    })
  }

  openForReading(name: string): ReadFile {
    assert(this.alive, 'open on a disk that has crashed')
    this.needDescriptor(name)
    const file = this.handle(this.inode(name))
    return { read: (offset, length) => file.read(offset, length), close: this.closeOnce() }
  }

  rename(from: string, to: string): Promise<void> {
    return this.later('rename', () => {
      const inode = this.inode(from)
      this.change((files) => {
        files.delete(from)
        files.set(to, inode)
      })
    })
  }

  remove(name: string): Promise<void> {
    return this.later('remove', () => {
      if (this.files.has(name)) this.change((files) => files.delete(name))
    })
  }

  flushDirectory(): Promise<void> {
    const covered = this.flushedChanges + this.changes.length
    return this.later('flushDirectory', () => {
      this.needDescriptor('.')
      this.applyChanges(covered - this.flushedChanges)
    })
  }

  crash(random: () => number): MemoryDisk {
    assert(this.alive, 'a disk crashes once')
    this.alive = false
    this.applyChanges(Math.floor(random() * (this.changes.length + 1)))
    for (const { content, pending, failed } of this.flushed.values()) {
      for (const [offset, data] of failed) keepSomeSectors(content, { offset, data }, random)
      failed.clear()
      for (const write of shuffled([...pending], random)) keepSomeSectors(content, write, random)
      pending.clear()
    }
    for (const [name, bytes] of this.creating) this.leaveHalfMade(name, bytes, random)
    return new SimulatedDisk({ ...this.init, capacityBytes: this.capacity }, this.flushed)
  }

  /** A file system allocates a file step by step. So a crash leaves no file, an empty one, or any part of it. */
  private leaveHalfMade(name: string, bytes: number, random: () => number): void {
    const share = random() * 3 - 1
    if (share < 0 || this.files.has(name)) return
    const length = Math.floor(share * (bytes / SECTOR_BYTES + 1)) * SECTOR_BYTES
    this.flushed.set(name, { content: new Uint8Array(Math.min(length, bytes)), pending: new Set(), failed: new Map() })
  }

  copy(schedule = this.init.schedule): MemoryDisk {
    const copied = [...this.flushed].map(([name, { content }]): [string, Inode] => [
      name,
      { content: content.slice(), pending: new Set(), failed: new Map() }
    ])
    const init = { ...this.init, capacityBytes: this.capacity, ...(schedule === undefined ? {} : { schedule }) }
    return new SimulatedDisk(init, new Map(copied))
  }

  fail(operation: DiskOperation, error: Error, count = 1): void {
    for (let i = 0; i < count; i++) this.failures.push({ operation, error })
  }

  setCapacity(bytes: number): void {
    this.capacity = bytes
  }

  setDescriptors(count: number): void {
    this.descriptors = count
  }

  damage(name: string, offset: number, change: (byte: number) => number): void {
    const { content } = this.inode(name)
    content[offset] = change(content[offset]!)
  }

  cut(name: string, length: number): void {
    const inode = this.inode(name)
    this.files.set(name, { ...inode, content: inode.content.slice(0, length) })
  }

  /** Runs `act` after the latency, unless a crash comes first. */
  private later<T>(operation: DiskOperation, act: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      if (!this.alive) return
      const failure = this.nextFailure(operation)
      this.schedule(this.latencyMs(operation), () => {
        if (!this.alive) return
        try {
          if (failure !== undefined) throw failure
          resolve(act())
        } catch (error) {
          reject(error)
        }
      })
    })
  }

  private nextFailure(operation: DiskOperation): Error | undefined {
    const at = this.failures.findIndex((failure) => failure.operation === operation)
    return at < 0 ? undefined : this.failures.splice(at, 1)[0]!.error
  }

  private needDescriptor(name: string): void {
    if (this.opened >= this.descriptors) throw new NoDescriptorsError(name, 'EMFILE')
  }

  private closeOnce(): () => void {
    let isOpen = true
    return () => {
      if (isOpen) this.opened--
      isOpen = false
    }
  }

  private handle(inode: Inode): DiskFile {
    this.opened++
    const closed = this.closeOnce()
    return {
      bytes: inode.content.length,
      write: (offset, data) => this.write(inode, { offset, data }),
      read: (offset, length) => {
        assert(this.alive, 'read from a disk that has crashed')
        return readThrough(inode, offset, length)
      },
      close: () => this.later('close', closed)
    }
  }

  private write(inode: Inode, write: Write): Promise<void> {
    const { offset, data } = write
    assert(
      offset % SECTOR_BYTES === 0 && data.length % SECTOR_BYTES === 0,
      `${data.length} bytes at ${offset}: not sectors`
    )
    assert(offset + data.length <= inode.content.length, `${data.length} bytes at ${offset} of ${inode.content.length}`)
    if (this.alive) inode.pending.add(write)
    const written = this.later('write', () => {
      inode.pending.delete(write)
      inode.content.set(data, offset)
      for (let at = 0; at < data.length; at += SECTOR_BYTES) inode.failed.delete(offset + at)
    })
    written.catch(() => {
      inode.pending.delete(write)
      for (let at = 0; at < data.length; at += SECTOR_BYTES) {
        inode.failed.set(offset + at, data.slice(at, at + SECTOR_BYTES))
      }
    })
    return written
  }

  private inode(name: string): Inode {
    const inode = this.files.get(name)
    if (inode === undefined) throw new Error(`${name} does not exist`)
    return inode
  }

  private change(change: (files: Map<string, Inode>) => void): void {
    change(this.files)
    this.changes.push(change)
  }

  private applyChanges(count: number): void {
    for (const change of this.changes.splice(0, Math.max(count, 0))) {
      change(this.flushed)
      this.flushedChanges++
    }
  }
}

/** Reads as programs do: data that is not durable is visible, too. */
function readThrough({ content, pending, failed }: Inode, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  bytes.set(content.subarray(offset, offset + length))
  const written = [...[...failed].map(([at, data]) => ({ offset: at, data })), ...pending]
  for (const { offset: start, data } of written) {
    const from = Math.max(offset, start)
    const to = Math.min(offset + length, start + data.length)
    if (from < to) bytes.set(data.subarray(from - start, to - start), from - offset)
  }
  return bytes
}

/** Shuffles in place (Fisher-Yates). */
function shuffled<T>(items: T[], random: () => number): T[] {
  for (let i = items.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1))
    ;[items[i], items[j]] = [items[j]!, items[i]!]
  }
  return items
}

function keepSomeSectors(content: Uint8Array, { offset, data }: Write, random: () => number): void {
  // All, none or some: each is likely enough to occur.
  const share = random() * 3 - 1
  for (let at = 0; at < data.length; at += SECTOR_BYTES) {
    if (random() < share) content.set(data.subarray(at, at + SECTOR_BYTES), offset + at)
  }
}
