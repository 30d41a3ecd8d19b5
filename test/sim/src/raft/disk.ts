import { SECTOR_BYTES, type Disk, type DiskFile, type DiskOperation, type MemoryDisk } from '@quire/raft'
import type { RandomSource } from '@quire/testing'
import type { RunHash } from '../run-hash.js'

interface Extent {
  readonly offset: number
  readonly length: number
}

interface Write {
  readonly file: SimFile
  readonly offset: number
  readonly data: Uint8Array
}

/** A file as the disk knows it, under any name. */
interface SimFile {
  bytes: number
  /** Completed writes, in order. */
  readonly written: Extent[]
}

/**
 * Simulates a node's disk through all its lives.
 *
 * It is a MemoryDisk, with the writes that were under way when the node lost power.
 */
export class SimDisk {
  /** Called when a write of so many sectors begins at this offset. */
  onWrite: ((offset: number, sectors: number) => void) | undefined
  private failing = false
  private isFull = false
  /** Each crash replaces this set, so writes of an earlier life do no harm. */
  private readonly writing = new Set<Write>()
  private readonly files = new Map<string, SimFile>()
  /** Writes that the last crash interrupted. */
  private interrupted: Write[] = []
  /** Interrupted writes of which the next start found some sectors, but not all. */
  tornWrites = 0
  private era = 0

  constructor(
    private memory: MemoryDisk,
    private readonly hash: RunHash
  ) {}

  get largestFileBytes(): number {
    let largest = 0
    for (const { bytes } of this.files.values()) largest = Math.max(largest, bytes)
    return largest
  }

  get isWriting(): boolean {
    return this.writing.size > 0
  }

  /** Power loss. */
  crash(random: RandomSource): void {
    this.era++
    this.failing = false
    this.interrupted = [...this.writing]
    this.writing.clear()
    this.onWrite = undefined
    this.memory = this.memory.crash(() => random.next())
  }

  /** A log may stop: one of its operations has failed. */
  get mayFail(): boolean {
    return this.failing
  }

  /** A log may fail to open. */
  get mayRefuse(): boolean {
    return this.failing || this.isFull
  }

  /** Makes the next operation of this kind fail. */
  fail(operation: DiskOperation): void {
    this.failing = true
    this.memory.fail(operation, new Error(`${operation} failed on purpose`))
  }

  /** Leaves room for `bytes` more, until `makeRoom`. */
  fill(bytes: number): void {
    this.isFull = true
    this.memory.setCapacity(this.memory.usedBytes + bytes)
  }

  makeRoom(): void {
    this.isFull = false
    this.memory.setCapacity(Infinity)
  }

  /**
   * Flips a bit of something that was written: in the newest write of a file, or in any. Returns false if there is
   * nothing.
   */
  rot(random: RandomSource): boolean {
    const names = [...this.files.keys()].filter((name) => this.files.get(name)!.written.length > 0).sort()
    if (names.length === 0) return false
    const name = random.is(0.5) ? names.at(-1)! : random.pick(names)
    const { written } = this.files.get(name)!
    const { offset, length } = random.is(0.5) ? written.at(-1)! : random.pick(written)
    const bit = 1 << random.int(0, 7)
    try {
      this.memory.damage(name, offset + random.int(0, length - 1), (byte) => byte ^ bit)
      return true
    } catch {
      // A crash has undone the file's name.
      return false
    }
  }

  /** Returns the disk as the log of one life sees it. */
  open(): Disk {
    const { memory, era } = this
    this.tornWrites = 0
    const isCurrent = (): boolean => era === this.era
    const named = (name: string): SimFile => {
      let file = this.files.get(name)
      if (file === undefined) this.files.set(name, (file = { bytes: 0, written: [] }))
      return file
    }
    const watch = (file: SimFile, real: DiskFile): DiskFile => ({
      bytes: real.bytes,
      read: (offset, length) => real.read(offset, length),
      close: () => real.close(),
      write: (offset, data) => {
        const write = { file, offset, data }
        this.writing.add(write)
        this.onWrite?.(offset, data.length / SECTOR_BYTES)
        this.hash.number(offset).bytes(data)
        return real.write(offset, data).then(
          () => {
            this.writing.delete(write)
            this.hash.number(offset)
            if (isCurrent()) file.written.push({ offset, length: data.length })
          },
          (error: unknown) => {
            this.writing.delete(write)
            throw error
          }
        )
      }
    })
    return {
      list: async () => {
        const names = await memory.list()
        for (const name of this.files.keys()) if (!names.includes(name)) this.files.delete(name)
        return names
      },
      create: async (name, bytes) => {
        const real = await memory.create(name, bytes)
        const file = { bytes, written: [] }
        this.files.set(name, file)
        return watch(file, real)
      },
      open: async (name) => {
        const real = await memory.open(name)
        const file = named(name)
        file.bytes = real.bytes
        this.countTorn(file, real)
        return watch(file, real)
      },
      openForReading: (name) => memory.openForReading(name),
      rename: async (from, to) => {
        await memory.rename(from, to)
        this.files.set(to, named(from))
        this.files.delete(from)
      },
      remove: async (name) => {
        await memory.remove(name)
        this.files.delete(name)
      },
      flushDirectory: () => memory.flushDirectory()
    }
  }

  private countTorn(file: SimFile, real: DiskFile): void {
    for (const write of this.interrupted) {
      if (write.file !== file || write.offset + write.data.length > real.bytes) continue
      const found = real.read(write.offset, write.data.length)
      const isSome = found.some((byte) => byte !== 0)
      if (isSome && Buffer.compare(found, write.data) !== 0) this.tornWrites++
    }
    this.interrupted = this.interrupted.filter((write) => write.file !== file)
  }
}
