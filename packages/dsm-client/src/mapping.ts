import {
  BusyError,
  ClosedError,
  InvalidArgumentError,
  PastEndError,
  PinConflictError,
  ReadOnlyMappingError,
  type Access
} from '@quire/protocol'
import type { Page } from './core/index.js'
import { checkNothingLost, checkUsable, flushPages, readPages, writePages, type OpenFile } from './page-io.js'
import type { Session } from './session.js'
import type { CallOptions, DsmFile, Mapping, PinnedRange } from './types.js'
import { allocateResult, checkBytes, checkCount, checkOneOf } from './validate.js'

export interface MappingInit {
  readonly handle: DsmFile
  readonly file: OpenFile
  readonly offset: number
  readonly length: number
  readonly writable: boolean
  /** Learns the file's size anew: it may have grown at another client. */
  readonly refreshSize: (signal?: AbortSignal) => Promise<number>
  readonly onUnmapped: () => void
}

export function createMapping(init: MappingInit): Mapping {
  return new SharedMapping(init)
}

class SharedMapping implements Mapping {
  readonly file: DsmFile
  readonly offset: number
  readonly length: number
  private readonly open: OpenFile
  private unmapping: Promise<void> | undefined

  constructor(private readonly init: MappingInit) {
    this.file = init.handle
    this.offset = init.offset
    this.length = init.length
    this.open = init.file
  }

  async read(offset: number, length: number, { signal }: CallOptions = {}): Promise<Uint8Array> {
    const start = await this.resolve(offset, length, signal)
    const target = allocateResult(length)
    await readPages(this.open, start, target, signal)
    return target
  }

  async readInto(offset: number, target: Uint8Array, { signal }: CallOptions = {}): Promise<void> {
    checkBytes('target', target)
    const start = await this.resolve(offset, target.length, signal)
    await readPages(this.open, start, target, signal)
  }

  async write(offset: number, bytes: Uint8Array, { signal }: CallOptions = {}): Promise<void> {
    this.checkWritable()
    checkBytes('bytes', bytes)
    const start = await this.resolve(offset, bytes.length, signal)
    await writePages(this.open, start, bytes, signal)
  }

  async pin(offset: number, length: number, access: Access, { signal }: CallOptions = {}): Promise<PinnedRange> {
    checkOneOf('access', access, ['read', 'write'])
    if (access === 'write') this.checkWritable()
    checkCount('length', length, 1)
    const start = await this.resolve(offset, length, signal)
    const { pageSize, path, session } = this.open
    const index = Math.floor(start / pageSize)
    const from = start - index * pageSize
    if (from + length > pageSize) throw new PinConflictError(path, start, length)
    for (;;) {
      const page = await this.pinPage(index, access, signal)
      const pinned = new PinnedPage(session, page, access, page.frame!.bytes.subarray(from, from + length))
      if (session.isLeaseValid()) return pinned
      pinned.release()
      await session.whenActive(signal)
    }
  }

  async msync(offset = 0, length = this.length - offset, { signal }: CallOptions = {}): Promise<void> {
    this.checkMapped()
    checkCount('offset', offset, 0, this.length)
    checkCount('length', length, 0, this.length - offset)
    await flushPages(this.open, this.offset + offset, length, signal)
  }

  munmap({ signal }: CallOptions = {}): Promise<void> {
    this.unmapping ??= this.doUnmap(signal).catch((error: unknown) => {
      // What could not be flushed stays, and so does the mapping.
      this.unmapping = undefined
      throw error
    })
    return this.unmapping
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.munmap()
  }

  private async doUnmap(signal?: AbortSignal): Promise<void> {
    checkNothingLost(this.open)
    if (this.open.session.ended === undefined && this.open.handles > 0) {
      await flushPages(this.open, this.offset, this.length, signal)
    }
    this.init.onUnmapped()
  }

  private pinPage(index: number, access: Access, signal?: AbortSignal): Promise<Page> {
    const { session, id, path, pageSize } = this.open
    const start = (resolve: (page: Page) => void, fail: (error: Error) => void) => {
      checkUsable(this.open)
      const withdraw = session.coherence.access(id, index, {
        access,
        pin: true,
        run: (_bytes, page) => resolve(page),
        fail
      })
      session.drain()
      return withdraw
    }
    return session.wait(start, signal, () => new BusyError(path, index * pageSize))
  }

  /** Where the range starts in the file, once it is known to be inside mapping and file. */
  private async resolve(offset: number, length: number, signal?: AbortSignal): Promise<number> {
    this.checkMapped()
    checkCount('offset', offset)
    checkCount('length', length)
    if (offset + length > this.length) {
      throw new InvalidArgumentError('offset + length', offset + length, `within the mapping of ${this.length} bytes`)
    }
    const start = this.offset + offset
    const end = start + length
    if (end > this.open.size) {
      const size = await this.init.refreshSize(signal)
      this.checkMapped()
      if (end > size) throw new PastEndError(this.open.path, Math.max(start, size), size)
    }
    return start
  }

  private checkMapped(): void {
    checkUsable(this.open)
    if (this.unmapping !== undefined) throw new ClosedError(`the mapping of ${this.open.path}`)
  }

  private checkWritable(): void {
    this.checkMapped()
    if (!this.init.writable) throw new ReadOnlyMappingError(this.open.path)
  }
}

class PinnedPage implements PinnedRange {
  private isHeld = true

  constructor(
    private readonly session: Session,
    private readonly page: Page,
    private readonly access: Access,
    readonly bytes: Uint8Array
  ) {}

  get wanted(): boolean {
    return this.isHeld && this.page.order !== undefined
  }

  get lost(): AbortSignal {
    return this.session.lost
  }

  release(): void {
    if (!this.isHeld) return
    this.isHeld = false
    this.session.coherence.unpin(this.page, this.access)
    this.session.drain()
  }

  [Symbol.dispose](): void {
    this.release()
  }
}
