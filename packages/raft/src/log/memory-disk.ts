import { assert, NoSpaceError } from '@quire/protocol'
import { SECTOR_BYTES, type Disk, type DiskFile } from './disk.js'

export interface MemoryDiskInit {
  /** Calls `callback` later. A Clock's `schedule` fits; the default completes everything in the next microtask. */
  readonly schedule?: (delayMs: number, callback: () => void) => unknown
  /** How long a write or a flush takes; asked for each. Default 0. */
  readonly latencyMs?: () => number
  /** Bytes of all files together; above it `create` rejects with NoSpaceError. Default: no limit. */
  readonly capacityBytes?: number
}

/** A disk in memory that forgets what a crash would: for tests and simulations. */
export interface MemoryDisk extends Disk {
  /** Bytes of all files. */
  readonly usedBytes: number
  /**
   * Power loss. Of each write under way any set of sectors is kept, of directory changes that were not flushed any number
   * of the first ones. Returns the disk as the next start finds it; this one and its files are dead, so that nothing which
   * still holds them can do harm: their operations never settle, reads throw.
   */
  crash(random: () => number): MemoryDisk
  /** The next `count` writes fail with `error`, after any part of them was written. */
  failWrites(error: Error, count?: number): void
  setCapacity(bytes: number): void
  /** Changes bytes behind everybody's back: bit rot. */
  damage(name: string, offset: number, change: (byte: number) => number): void
}

interface Write {
  readonly offset: number
  readonly data: Uint8Array
}

/** What is durable of a file, and the writes that are not. */
interface Inode {
  readonly content: Uint8Array
  readonly pending: Set<Write>
}

export function createMemoryDisk(init: MemoryDiskInit = {}): MemoryDisk {
  return new SimulatedDisk(init, new Map())
}

class SimulatedDisk implements MemoryDisk {
  /** The directory as programs see it. What a crash keeps for certain is in `flushed`. */
  private readonly files: Map<string, Inode>
  private changes: ((files: Map<string, Inode>) => void)[] = []
  /** Changes that were ever flushed. */
  private settled = 0
  private alive = true
  private capacity: number
  private readonly failures: Error[] = []
  private readonly schedule: (delayMs: number, callback: () => void) => unknown
  private readonly latencyMs: () => number

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

  list(): Promise<string[]> {
    return this.later(() => [...this.files.keys()].sort())
  }

  create(name: string, bytes: number): Promise<DiskFile> {
    return this.later(() => {
      if (this.files.has(name)) throw new Error(`${name} exists`)
      if (this.usedBytes + bytes > this.capacity) throw new NoSpaceError(name)
      const inode = { content: new Uint8Array(bytes), pending: new Set<Write>() }
      this.change((files) => files.set(name, inode))
      return this.handle(inode)
    })
  }

  open(name: string): Promise<DiskFile> {
    return this.later(() => this.handle(this.inode(name)))
  }

  rename(from: string, to: string): Promise<void> {
    return this.later(() => {
      const inode = this.inode(from)
      this.change((files) => {
        files.delete(from)
        files.set(to, inode)
      })
    })
  }

  remove(name: string): Promise<void> {
    return this.later(() => {
      this.inode(name)
      this.change((files) => files.delete(name))
    })
  }

  flushDirectory(): Promise<void> {
    const covered = this.settled + this.changes.length
    return this.later(() => this.settle(covered - this.settled))
  }

  crash(random: () => number): MemoryDisk {
    assert(this.alive, 'a disk crashes once')
    this.alive = false
    this.settle(Math.floor(random() * (this.changes.length + 1)))
    for (const { content, pending } of this.flushed.values()) {
      for (const write of pending) keepSomeSectors(content, write, random)
      pending.clear()
    }
    return new SimulatedDisk({ ...this.init, capacityBytes: this.capacity }, this.flushed)
  }

  failWrites(error: Error, count = 1): void {
    for (let i = 0; i < count; i++) this.failures.push(error)
  }

  setCapacity(bytes: number): void {
    this.capacity = bytes
  }

  damage(name: string, offset: number, change: (byte: number) => number): void {
    const { content } = this.inode(name)
    content[offset] = change(content[offset]!)
  }

  /** Does `operation` after the latency, unless a crash comes first. */
  private later<T>(operation: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      if (!this.alive) return
      this.schedule(this.latencyMs(), () => {
        if (!this.alive) return
        try {
          resolve(operation())
        } catch (error) {
          reject(error)
        }
      })
    })
  }

  private handle(inode: Inode): DiskFile {
    return {
      bytes: inode.content.length,
      write: (offset, data) => this.write(inode, { offset, data }),
      read: (offset, length) => {
        assert(this.alive, 'read from a disk that has crashed')
        return readThrough(inode, offset, length)
      },
      close: () => this.later(() => {})
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
    const failure = this.failures.shift()
    return this.later(() => {
      if (failure !== undefined) throw failure
      inode.pending.delete(write)
      inode.content.set(data, offset)
    })
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

  private settle(count: number): void {
    for (const change of this.changes.splice(0, Math.max(count, 0))) {
      change(this.flushed)
      this.settled++
    }
  }
}

/** What programs read: also what is not durable yet. */
function readThrough({ content, pending }: Inode, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  bytes.set(content.subarray(offset, offset + length))
  for (const { offset: start, data } of pending) {
    const from = Math.max(offset, start)
    const to = Math.min(offset + length, start + data.length)
    if (from < to) bytes.set(data.subarray(from - start, to - start), from - offset)
  }
  return bytes
}

function keepSomeSectors(content: Uint8Array, { offset, data }: Write, random: () => number): void {
  // All, none or some: each is likely enough to be met.
  const share = random() * 3 - 1
  for (let at = 0; at < data.length; at += SECTOR_BYTES) {
    if (random() < share) content.set(data.subarray(at, at + SECTOR_BYTES), offset + at)
  }
}
