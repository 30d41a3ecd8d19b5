/**
 * An address space without a cluster: pages come from, and go to, a program's own `VmOperations`. The page tables, mappings and the calls of the seed are
 * the same as those of a file of the cluster.
 */
import { BusyError, ClosedError, MAX_FILE_BYTES } from '@quire/protocol'
import { createAddressSpaceCalls, unmapPages } from '../api/address-space.js'
import { MIN_CACHE_BYTES } from '../core/index.js'
import type { OpenFile } from '../host.js'
import { LocalHost } from './local-host.js'
import { createMapping } from '../api/shared-mapping.js'
import { checkUsable, flushFile } from '../api/page-io.js'
import { OneTimeTask } from '../one-time-task.js'
import { createPrivateMapping } from '../api/private-mapping.js'
import { DEFAULT_CACHE_BYTES, DEFAULT_FAULT_TIMEOUT_MS } from '../api/settings.js'
import type {
  AddressSpace,
  AddressSpaceInit,
  CallOptions,
  LocalAddressSpace,
  LocalMapping,
  MmapOptions
} from '../types.js'
import { checkCount, checkFunction, checkMapped, checkMmapOptions, checkOptions, checkPageSize } from '../validate.js'
import { throwIfAborted } from '../waiting.js'

const FILE = 1

/** Throws InvalidArgumentError for a page size that is no power of two from 4,096 to 65,536, for hooks that are missing, and the like. */
export function createAddressSpace(init: AddressSpaceInit): LocalAddressSpace {
  return new LocalSpace(init)
}

class LocalSpace implements LocalAddressSpace {
  private readonly host: LocalHost
  private readonly file: OpenFile
  private readonly calls: AddressSpace
  private readonly closing = new OneTimeTask()
  /** The newest truncation with all before it. Never rejects. */
  private truncation: Promise<void> = Promise.resolve()

  constructor(init: AddressSpaceInit) {
    checkOptions('createAddressSpace', init, ['size', 'ops', 'pageSize', 'cacheBytes', 'faultTimeoutMs'])
    const {
      pageSize = 4096,
      size,
      ops,
      cacheBytes = DEFAULT_CACHE_BYTES,
      faultTimeoutMs = DEFAULT_FAULT_TIMEOUT_MS
    } = init
    checkPageSize(pageSize)
    checkCount('size', size, 0, MAX_FILE_BYTES)
    for (const hook of ['noPage', 'wpPage', 'writePages'] as const) checkFunction(`ops.${hook}`, ops?.[hook])
    checkCount('cacheBytes', cacheBytes, MIN_CACHE_BYTES)
    checkCount('faultTimeoutMs', faultTimeoutMs, 1)
    this.host = new LocalHost({ file: FILE, path: 'address space', pageSize, size }, ops, cacheBytes, faultTimeoutMs)
    const { space } = this.host
    const refreshSize = (): Promise<number> => Promise.resolve(space.size)
    const { path } = space
    this.file = {
      host: this.host,
      space,
      id: FILE,
      path,
      pageSize,
      handles: 1,
      closing: 0,
      ownsSize: true,
      refreshSize
    }
    this.calls = createAddressSpaceCalls(this.file, () => checkUsable(this.file))
  }

  get size(): number {
    return this.file.space.size
  }

  unmapMappingRange(start: number, length: number, options?: { evenCows?: boolean }): void {
    this.calls.unmapMappingRange(start, length, options)
  }

  writeMappingRange(start: number, length: number, options?: CallOptions): Promise<void> {
    return this.calls.writeMappingRange(start, length, options)
  }

  evictMappingRange(start: number, length: number, options?: CallOptions): Promise<void> {
    return this.calls.evictMappingRange(start, length, options)
  }

  mmap(options: Omit<MmapOptions, 'signal'> = {}): LocalMapping {
    checkUsable(this.file)
    const { offset = 0, prot = 'read-write', flags = 'shared' } = options
    checkMmapOptions(options, ['offset', 'length', 'prot', 'flags'], this.file.pageSize)
    const { length = Math.max(0, this.size - offset) } = options
    checkMapped(offset, length)
    const create = flags === 'private' ? createPrivateMapping : createMapping
    return create({ file: this.file, offset, length, writable: prot === 'read-write', onUnmapped: () => {} })
  }

  async truncate(size: number, { signal }: CallOptions = {}): Promise<void> {
    checkUsable(this.file)
    checkCount('size', size, 0, MAX_FILE_BYTES)
    throwIfAborted(signal)
    const { host, path } = this.file
    const givenUp = new AbortController()
    // One after the other: what one drops late may have been written after another has grown the space again.
    const cut = this.truncation.then(() => this.cut(size, givenUp.signal))
    this.truncation = cut.catch(() => {})
    const start = (resolve: () => void, reject: (error: Error) => void): (() => void) => {
      cut.then(resolve, reject)
      return () => givenUp.abort()
    }
    await host.wait<void>(start, signal, () => new BusyError(path, size))
  }

  /**
   * As the kernel truncates: publish the size, unmap, wait for pins and writebacks, drop, and unmap again, because a private copy can appear in
   * between. Once the size is published this goes on whether anybody waits or not: nobody can take back what others have seen.
   */
  private async cut(size: number, signal: AbortSignal): Promise<void> {
    throwIfAborted(signal)
    checkUsable(this.file)
    const { space, pageSize } = this.file
    if (size >= space.size) {
      space.size = size
      return
    }
    await this.host.shorten(size, signal)
    const first = Math.ceil(size / pageSize)
    unmapPages(this.file, first, Infinity, true)
    await this.host.discard(first)
    unmapPages(this.file, first, Infinity, true)
  }

  close({ signal }: CallOptions = {}): Promise<void> {
    // What could not be written back stays: the space is open until it was.
    return this.closing.run(() => this.doClose(), signal)
  }

  private async doClose(): Promise<void> {
    // From here on nothing may be written that the flush could miss.
    this.file.closing = 1
    try {
      this.host.refuseWaiters(new ClosedError(this.file.path))
      await flushFile(this.file)
    } finally {
      this.file.closing = 0
    }
    this.host.end()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}
