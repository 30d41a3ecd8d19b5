import { ClosedError, InvalidArgumentError, PastEndError, ReadOnlyMappingError, type Access } from '@quire/protocol'
import type { OpenFile } from '../host.js'
import { OneTimeTask } from '../one-time-task.js'
import { createAddressSpaceCalls } from './address-space.js'
import { prefetch, ReadsAhead } from './reads-ahead.js'
import { checkUsable, isKnownInside, sizeFor, withSize } from './page-io.js'
import type { Advice, CallOptions, LocalMapping, PinnedRange } from '../types.js'
import { allocateResult, checkBytes, checkCount, checkOneOf } from '../validate.js'
import { throwIfAborted } from '../waiting.js'

export interface MappingInit {
  readonly file: OpenFile
  readonly offset: number
  readonly length: number
  readonly writable: boolean
  readonly onUnmapped: () => void
}

/** Checks the calls of a mapping. Subclasses take offsets in the file, in methods that end in `At`. */
export abstract class MappingBase implements LocalMapping {
  readonly offset: number
  readonly length: number
  protected readonly open: OpenFile
  private readonly writable: boolean
  private readonly onUnmapped: () => void
  private readonly unmapping = new OneTimeTask()
  /** Undefined where the program provides the pages: it knows best what to read. */
  private readonly ahead: ReadsAhead | undefined

  constructor(init: MappingInit) {
    this.offset = init.offset
    this.length = init.length
    this.open = init.file
    this.writable = init.writable
    this.onUnmapped = init.onUnmapped
    if (init.file.ownsSize !== true) this.ahead = new ReadsAhead(init.file, init.offset + init.length)
  }

  protected abstract readAt(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void>
  /** `written`: pages that earlier attempts of the call have written. */
  protected abstract writeAt(
    offset: number,
    bytes: Uint8Array,
    written: Set<number>,
    signal?: AbortSignal
  ): Promise<void>
  /** Runs a write, with all its attempts, as one operation of the history. */
  protected recordWrite(
    _offset: number,
    _bytes: Uint8Array,
    _written: ReadonlySet<number>,
    action: () => Promise<void>
  ): Promise<void> {
    return action()
  }
  /** Reads at once or returns false. After false, `target` may have changed. */
  protected abstract tryReadAt(offset: number, target: Uint8Array): boolean
  protected abstract tryWriteAt(offset: number, bytes: Uint8Array): boolean
  protected abstract pinAt(offset: number, length: number, access: Access, signal?: AbortSignal): Promise<PinnedRange>
  protected abstract syncAt(offset: number, length: number, signal?: AbortSignal): Promise<void>
  /** Makes everything durable that must survive the mapping. */
  protected abstract flush(): Promise<void>
  /** Drops everything that belongs to the mapping alone. */
  protected abstract drop(): void

  async read(offset: number, length: number, { signal }: CallOptions = {}): Promise<Uint8Array> {
    this.checkInside(offset, length)
    const target = allocateResult(length)
    if (signal?.aborted !== true && this.readAtOnce(offset, target)) return target
    await this.readWhenPossible(offset, target, signal)
    return target
  }

  async readInto(offset: number, target: Uint8Array, { signal }: CallOptions = {}): Promise<void> {
    checkBytes('target', target)
    this.checkInside(offset, target.length)
    if (signal?.aborted !== true && this.readAtOnce(offset, target)) return
    await this.readWhenPossible(offset, target, signal)
  }

  private readWhenPossible(offset: number, target: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
    return this.inFile(offset, target.length, signal, (start) => {
      const reading = this.readAt(start, target, signal)
      this.ahead?.read(start, target.length)
      return reading
    })
  }

  async write(offset: number, bytes: Uint8Array, { signal }: CallOptions = {}): Promise<void> {
    this.checkWritable()
    checkBytes('bytes', bytes)
    // A refused call does not appear in the history.
    this.checkInside(offset, bytes.length)
    if (signal?.aborted !== true && this.writeAtOnce(offset, bytes)) {
      const { host } = this.open
      if (!host.isLeaseValid()) await host.whenActive(signal)
      return
    }
    const written = new Set<number>()
    await this.recordWrite(this.offset + offset, bytes, written, () =>
      this.inFile(offset, bytes.length, signal, (start) => this.writeAt(start, bytes, written, signal))
    )
  }

  tryRead(offset: number, target: Uint8Array): boolean {
    checkBytes('target', target)
    this.checkInside(offset, target.length)
    return this.readAtOnce(offset, target)
  }

  private readAtOnce(offset: number, target: Uint8Array): boolean {
    const start = this.offset + offset
    if (!isKnownInside(this.open, start, target.length) || !this.tryReadAt(start, target)) return false
    this.ahead?.read(start, target.length)
    return true
  }

  tryWrite(offset: number, bytes: Uint8Array): boolean {
    this.checkWritable()
    checkBytes('bytes', bytes)
    this.checkInside(offset, bytes.length)
    return this.writeAtOnce(offset, bytes)
  }

  private writeAtOnce(offset: number, bytes: Uint8Array): boolean {
    const start = this.offset + offset
    return isKnownInside(this.open, start, bytes.length) && this.tryWriteAt(start, bytes)
  }

  async pin(offset: number, length: number, access: Access, { signal }: CallOptions = {}): Promise<PinnedRange> {
    checkOneOf('access', access, ['read', 'write'])
    if (access === 'write') this.checkWritable()
    checkCount('length', length, 1)
    return this.inFile(offset, length, signal, (start) => {
      const pinning = this.pinAt(start, length, access, signal)
      if (access === 'read') this.ahead?.read(start, length)
      return pinning
    })
  }

  async advise(offset: number, length: number, advice: Advice, { signal }: CallOptions = {}): Promise<void> {
    checkOneOf('advice', advice, ['normal', 'sequential', 'random', 'willneed', 'dontneed'])
    this.checkInside(offset, length)
    throwIfAborted(signal)
    if (advice === 'willneed') prefetch(this.open, this.offset + offset, length)
    else if (advice !== 'dontneed') this.ahead?.follow(advice)
    // In these calls a length of 0 means to the end of the file.
    else if (length > 0)
      await createAddressSpaceCalls(this.open, () => this.checkMapped()).evictMappingRange(
        this.offset + offset,
        length,
        { signal }
      )
  }

  async msync(offset = 0, length?: number, { signal }: CallOptions = {}): Promise<void> {
    this.checkMapped()
    checkCount('offset', offset, 0, this.length)
    const rest = this.length - offset
    if (length !== undefined) checkCount('length', length, 0, rest)
    throwIfAborted(signal)
    await this.syncAt(this.offset + offset, length ?? rest, signal)
  }

  munmap({ signal }: CallOptions = {}): Promise<void> {
    // Pages that cannot be flushed stay, and so does the mapping.
    return this.unmapping.run(() => this.doUnmap(), signal)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.munmap()
  }

  /** The pages are those of the file. */
  get isShared(): boolean {
    return false
  }

  /** Resolves when the session's lease is valid. */
  whenActive({ signal }: CallOptions = {}): Promise<void> {
    return this.open.host.whenActive(signal)
  }

  /** Unmaps at once. The caller has flushed the pages. */
  unmap(): void {
    this.unmapping.skip()
    this.drop()
    this.onUnmapped()
  }

  private async doUnmap(): Promise<void> {
    await this.flush()
    this.unmap()
  }

  /** Runs `action` with the range's offset in the file, when the file reaches to the end of the range. */
  private inFile<T>(
    offset: number,
    length: number,
    signal: AbortSignal | undefined,
    action: (start: number) => Promise<T>
  ): Promise<T> {
    return withSize(async () => {
      this.checkInside(offset, length)
      throwIfAborted(signal)
      const start = this.offset + offset
      const end = start + length
      const size = await sizeFor(this.open, end, signal)
      this.checkMapped()
      if (end > size) throw new PastEndError(this.open.path, Math.max(start, size), size)
      return action(start)
    })
  }

  private checkInside(offset: number, length: number): void {
    this.checkMapped()
    checkCount('offset', offset)
    checkCount('length', length)
    if (offset + length > this.length) {
      throw new InvalidArgumentError('offset + length', offset + length, `within the mapping of ${this.length} bytes`)
    }
  }

  protected checkMapped(): void {
    checkUsable(this.open)
    if (this.unmapping.hasBegun) throw new ClosedError(`the mapping of ${this.open.path}`)
  }

  private checkWritable(): void {
    this.checkMapped()
    if (!this.writable) throw new ReadOnlyMappingError(this.open.path)
  }
}
