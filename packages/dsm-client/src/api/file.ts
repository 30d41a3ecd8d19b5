import { assert, ClosedError, MAX_CHECKSUM_BYTES, MAX_FILE_BYTES, type WireFileStat } from '@quire/protocol'
import { createMapping } from './shared-mapping.js'
import type { MappingBase } from './mapping-base.js'
import { createAddressSpaceCalls } from './address-space.js'
import { hex, UNKNOWN } from '../history.js'
import type { OpenFile } from '../host.js'
import { OneTimeTask } from '../one-time-task.js'
import {
  checkNothingLost,
  checkUsable,
  flushFile,
  isKnownInside,
  readPages,
  sizeFor,
  tryReadPages,
  withSize,
  writePages
} from './page-io.js'
import { createPrivateMapping } from './private-mapping.js'
import { ReadsAhead } from './reads-ahead.js'
import type { Reply } from '../session/request-queue.js'
import type { Session } from '../session/session.js'
import type { AddressSpace, CallOptions, DsmFile, FileStat, Mapping, MmapOptions } from '../types.js'
import {
  allocateResult,
  checkBytes,
  checkCount,
  checkMapped,
  checkMmapOptions,
  checkPath,
  checkRange
} from '../validate.js'
import { throwIfAborted } from '../waiting.js'

/** `release` gives the file up, after the close of its last handle has flushed its pages. */
export function createFile(file: OpenFile, session: Session, release: () => Promise<void>): DsmFile {
  return new FileHandle(file, session, release)
}

/** Returns the number of the file's address space: see `FrameProvider.newSpace`. */
export function addressSpaceOf(file: DsmFile): number {
  assert(file instanceof FileHandle, 'not a file of this package')
  return file.space
}

export function toFileStat(wire: WireFileStat): FileStat {
  const { id, path, size, pageSize, unit, version, createdAt, modifiedAt } = wire
  const rest = { path, size, pageSize, unit, version }
  return { ...rest, id: String(id), createdAt: new Date(createdAt), modifiedAt: new Date(modifiedAt) }
}

/** Implements the calls of one handle of an open file. */
class FileHandle implements DsmFile {
  readonly id: string
  readonly pageSize: number
  private readonly closing = new OneTimeTask()
  private isGivenUp = false
  private readonly mappings = new Set<MappingBase>()
  private readonly ahead: ReadsAhead

  readonly addressSpace: AddressSpace

  constructor(
    private readonly open: OpenFile,
    private readonly session: Session,
    private readonly release: () => Promise<void>
  ) {
    this.id = String(open.id)
    this.pageSize = open.pageSize
    this.ahead = new ReadsAhead(open)
    this.addressSpace = createAddressSpaceCalls(open, () => this.checkOpen())
  }

  get space(): number {
    return this.open.space.number
  }

  get path(): string {
    return this.open.isUnnamed === true ? '' : this.open.path
  }

  async stat({ signal }: CallOptions = {}): Promise<FileStat> {
    this.checkOpen()
    const { open, session } = this
    const facts = ({ size }: WireFileStat): { offset: number } => ({ offset: size })
    return toFileStat(
      await session.recorder.record('size', open.id, 0, 0, facts, () =>
        session.pages.sizes.statFile(open.space, signal)
      )
    )
  }

  async read(offset: number, length: number, { signal }: CallOptions = {}): Promise<Uint8Array> {
    this.checkOpen()
    checkRange(offset, length)
    const { open, session } = this
    if (signal?.aborted !== true && isKnownInside(open, offset, length)) {
      const target = allocateResult(length)
      if (tryReadPages(open, offset, target)) {
        this.ahead.read(offset, length)
        return target
      }
    }
    const facts = (bytes: Uint8Array): { value: string } => ({ value: hex(bytes) })
    return session.recorder.record('read', open.id, offset, length, facts, () =>
      withSize(async () => {
        const size = await sizeFor(open, offset + length, signal)
        const target = allocateResult(Math.max(0, Math.min(length, size - offset)))
        const reading = readPages(open, offset, target, signal)
        this.ahead.read(offset, target.length)
        await reading
        return target
      })
    )
  }

  async write(offset: number, bytes: Uint8Array, { signal }: CallOptions = {}): Promise<void> {
    this.checkOpen()
    checkBytes('bytes', bytes)
    checkRange(offset, bytes.length)
    throwIfAborted(signal)
    if (bytes.length === 0) return
    const { open, session } = this
    const end = offset + bytes.length
    let grew = false
    const pages = new Set<number>()
    const facts = (): { value: string; grew: boolean } => ({ value: hex(bytes), grew })
    const action = (): Promise<void> =>
      withSize(async () => {
        if (end > open.space.size) {
          grew = true
          await session.pages.sizes.extend(open.space, end, signal)
        }
        await writePages(open, offset, bytes, pages, signal)
      })
    await session.recorder.record('write', open.id, offset, bytes.length, facts, action, {
      mayHaveHappened: () => grew || pages.size > 0,
      facts
    })
  }

  async checksum(offset: number, length: number, { signal }: CallOptions = {}): Promise<number> {
    this.checkOpen()
    checkRange(offset, length)
    const { open, session } = this
    let before = 0
    for (let at = offset; at < offset + length; at += MAX_CHECKSUM_BYTES) {
      const part = Math.min(MAX_CHECKSUM_BYTES, offset + length - at)
      const body = { type: 'checksum', file: open.id, offset: at, length: part, before } as const
      before = (await session.request(body, { signal })).checksum
    }
    return before
  }

  async truncate(size: number, { signal }: CallOptions = {}): Promise<void> {
    this.checkOpen()
    checkCount('size', size, 0, MAX_FILE_BYTES)
    const { open, session } = this
    const action = (): Promise<unknown> => session.request({ type: 'truncate', file: open.id, size }, { signal })
    await session.recorder.record('truncate', open.id, size, 0, () => ({}), action, UNKNOWN)
  }

  async punchHole(offset: number, length: number, { signal }: CallOptions = {}): Promise<void> {
    this.checkOpen()
    checkRange(offset, length)
    throwIfAborted(signal)
    const { pageSize } = this
    const end = offset + length
    const first = Math.ceil(offset / pageSize)
    const last = Math.floor(end / pageSize)
    if (first > last) return this.zero(offset, end, signal)
    await this.zero(offset, first * pageSize, signal)
    await this.zero(last * pageSize, end, signal)
    if (first < last) await this.punchPages(first, last, signal)
  }

  async sync({ signal }: CallOptions = {}): Promise<void> {
    this.checkOpen()
    const { open, session } = this
    await session.recorder.record(
      'sync',
      open.id,
      0,
      0,
      () => ({}),
      () => flushFile(open, signal)
    )
  }

  async link(path: string, options: CallOptions = {}): Promise<void> {
    this.checkOpen()
    checkPath(path)
    const { open, session } = this
    // Flush first: once the path leads to the file, the file outlives this client, and must not lack its writes.
    await this.sync(options)
    // If a close began meanwhile, the client gives the file up, and the cluster deletes it.
    this.checkOpen()
    const linked = (reply: Reply): void => {
      if (reply.type !== 'done') return
      open.isUnnamed = false
      open.path = path
      open.space.path = path
    }
    open.isNaming = true
    await session.request(
      { type: 'link', file: open.id, path },
      { signal: options.signal, onAnswer: linked, onLate: linked }
    )
  }

  async mmap(options: MmapOptions = {}): Promise<Mapping> {
    const { offset = 0, length, prot = 'read-write', flags = 'shared', signal } = options
    this.checkOpen()
    checkMmapOptions(options, ['offset', 'length', 'prot', 'flags', 'signal'], this.pageSize)
    throwIfAborted(signal)
    const mapped = length === undefined ? Math.max(0, (await this.open.refreshSize(signal)) - offset) : length
    // The program may have closed the file meanwhile. No close would unmap a mapping that is made now.
    this.checkOpen()
    checkMapped(offset, mapped)
    const create = flags === 'private' ? createPrivateMapping : createMapping
    const mapping = create({
      file: this.open,
      offset,
      length: mapped,
      writable: prot === 'read-write',
      onUnmapped: () => this.mappings.delete(mapping)
    })
    this.mappings.add(mapping)
    return Object.assign(mapping, { file: this })
  }

  close({ signal }: CallOptions = {}): Promise<void> {
    // Pages that cannot be flushed stay, and so does the file.
    return this.closing.run(() => this.doClose(), signal)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  private async doClose(): Promise<void> {
    const { open } = this
    if (this.isGivenUp) return
    checkNothingLost(open)
    if (open.host.ended !== undefined || open.handles === 0) return
    open.closing++
    try {
      if (open.closing === open.handles) {
        this.session.pages.coherence.refuseWaiters(open.id, new ClosedError(open.path))
      }
      await flushFile(open)
    } finally {
      open.closing--
    }
    // The client may have closed meanwhile, and given up all files.
    if (open.handles === 0) return
    this.isGivenUp = true
    // Unmap only now: a file that stays open keeps its mappings.
    for (const mapping of this.mappings) mapping.unmap()
    open.handles--
    if (open.handles === 0) await this.release()
  }

  private checkOpen(): void {
    checkUsable(this.open)
    if (this.closing.hasBegun || this.isGivenUp) throw new ClosedError(this.open.path)
  }

  /** Writes zeros into a part of one page, as far as the file reaches at the write. */
  private async zero(from: number, to: number, signal?: AbortSignal): Promise<void> {
    if (from >= to) return
    const { open, session } = this
    let zeros = new Uint8Array(0)
    const pages = new Set<number>()
    const facts = (): { value: string; grew: boolean } => ({ value: hex(zeros), grew: false })
    const action = (): Promise<void> =>
      withSize(async () => {
        const size = await sizeFor(open, to, signal)
        zeros = new Uint8Array(Math.max(0, Math.min(to, size) - from))
        await writePages(open, from, zeros, pages, signal)
      })
    await session.recorder.record('write', open.id, from, to - from, facts, action, {
      mayHaveHappened: () => pages.size > 0,
      facts
    })
  }

  private async punchPages(first: number, end: number, signal?: AbortSignal): Promise<void> {
    const { open, session, pageSize } = this
    const action = (): Promise<unknown> => session.request({ type: 'punch', file: open.id, first, end }, { signal })
    const length = (end - first) * pageSize
    await session.recorder.record('punch', open.id, first * pageSize, length, () => ({}), action, UNKNOWN)
  }
}
