import { ClosedError, InvalidArgumentError, UnavailableError, type WireFileStat } from '@quire/protocol'
import { createMapping } from './mapping.js'
import { checkNothingLost, checkUsable, flushPages, readPages, writePages, type OpenFile } from './page-io.js'
import type { CallOptions, DsmFile, FileStat, Mapping, MmapOptions } from './types.js'
import { allocateResult, checkBytes, checkCount, checkOneOf, checkOptions, checkRange } from './validate.js'
import { throwIfAborted } from './waiting.js'

/** Called when the last handle of a file is closed and its pages are flushed. */
export type ReleaseFile = (file: OpenFile, signal?: AbortSignal) => Promise<void>

export function createFile(file: OpenFile, release: ReleaseFile): DsmFile {
  return new FileHandle(file, release)
}

export function toFileStat(wire: WireFileStat): FileStat {
  const { id, createdAt, modifiedAt, ...rest } = wire
  return { ...rest, id: String(id), createdAt: new Date(createdAt), modifiedAt: new Date(modifiedAt) }
}

class FileHandle implements DsmFile {
  readonly id: string
  readonly path: string
  readonly pageSize: number
  private closing: Promise<void> | undefined
  private isGivenUp = false
  private readonly mappings = new Set<Mapping>()

  constructor(
    private readonly open: OpenFile,
    private readonly releaseFile: ReleaseFile
  ) {
    this.id = String(open.id)
    this.path = open.path
    this.pageSize = open.pageSize
  }

  async stat({ signal }: CallOptions = {}): Promise<FileStat> {
    this.checkOpen()
    return toFileStat(await this.statFile(signal))
  }

  async read(offset: number, length: number, { signal }: CallOptions = {}): Promise<Uint8Array> {
    this.checkOpen()
    checkRange(offset, length)
    // What ends inside the file as it was last heard of needs no new word: a file only grows.
    const size = offset + length <= this.open.size ? this.open.size : await this.refreshSize(signal)
    const target = allocateResult(Math.max(0, Math.min(length, size - offset)))
    await readPages(this.open, offset, target, signal)
    return target
  }

  async write(offset: number, bytes: Uint8Array, { signal }: CallOptions = {}): Promise<void> {
    this.checkOpen()
    checkBytes('bytes', bytes)
    checkRange(offset, bytes.length)
    throwIfAborted(signal)
    if (bytes.length === 0) return
    const end = offset + bytes.length
    if (end > this.open.size) await this.extend(end, signal)
    await writePages(this.open, offset, bytes, signal)
  }

  async sync({ signal }: CallOptions = {}): Promise<void> {
    this.checkOpen()
    await flushPages(this.open, 0, Number.MAX_SAFE_INTEGER, signal)
  }

  async mmap(options: MmapOptions = {}): Promise<Mapping> {
    const { offset = 0, length, prot = 'read-write', signal } = options
    this.checkOpen()
    checkOptions('mmap', options, ['offset', 'length', 'prot', 'signal'])
    checkOneOf('prot', prot, ['read', 'read-write'])
    checkCount('offset', offset)
    if (offset % this.pageSize !== 0) throw new InvalidArgumentError('offset', offset, `a multiple of ${this.pageSize}`)
    throwIfAborted(signal)
    const mapped = length ?? Math.max(0, (await this.refreshSize(signal)) - offset)
    checkRange(offset, mapped)
    if (mapped === 0) throw new InvalidArgumentError('length', mapped, 'at least 1 byte')
    const mapping = createMapping({
      handle: this,
      file: this.open,
      offset,
      length: mapped,
      writable: prot === 'read-write',
      refreshSize: (inner) => this.refreshSize(inner),
      onUnmapped: () => this.mappings.delete(mapping)
    })
    this.mappings.add(mapping)
    return mapping
  }

  close({ signal }: CallOptions = {}): Promise<void> {
    this.closing ??= this.doClose(signal).catch((error: unknown) => {
      // What could not be flushed stays: the file is open until it was.
      if (!this.isGivenUp) this.closing = undefined
      throw error
    })
    return this.closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  private async doClose(signal?: AbortSignal): Promise<void> {
    const { open } = this
    checkNothingLost(open)
    if (open.session.ended !== undefined || open.handles === 0) return
    open.closing++
    try {
      if (open.closing === open.handles) {
        open.session.coherence.refuseWaiters(open.id, new ClosedError(this.path))
      }
      for (const mapping of [...this.mappings]) await mapping.munmap({ signal })
      await flushPages(open, 0, Number.MAX_SAFE_INTEGER, signal)
    } finally {
      open.closing--
    }
    // The client may have been closed meanwhile: then it gives all files up.
    if (open.handles === 0) return
    this.isGivenUp = true
    open.handles--
    if (open.handles === 0) await this.releaseFile(open, signal)
  }

  private checkOpen(): void {
    checkUsable(this.open)
    if (this.closing !== undefined) throw new ClosedError(this.path)
  }

  private async refreshSize(signal?: AbortSignal): Promise<number> {
    await this.statFile(signal)
    return this.open.size
  }

  private async extend(size: number, signal?: AbortSignal): Promise<void> {
    await this.open.session.request({ type: 'extend', file: this.open.id, size }, { signal })
    this.open.size = Math.max(this.open.size, size)
  }

  private async statFile(signal?: AbortSignal): Promise<WireFileStat> {
    const reply = await this.open.session.request({ type: 'statFile', file: this.open.id }, { signal })
    const stat = reply.type === 'files' ? reply.files[0] : undefined
    if (stat === undefined) throw new UnavailableError(`the leader answered stat with ${reply.type}`)
    this.open.size = Math.max(this.open.size, stat.size)
    return stat
  }
}
