/**
 * An address space without a cluster: pages come from, and go to, a program's own `VmOperations`. The page tables, mappings and the calls of the seed are
 * the same as those of a file of the cluster.
 */
import { InvalidArgumentError, refusePageSize } from '@quire/protocol'
import { createAddressSpaceCalls } from './address-space.js'
import { AddressSpacePages, MIN_CACHE_BYTES } from './core/index.js'
import type { OpenFile } from './host.js'
import { LocalHost } from './local-host.js'
import { createMapping } from './mapping.js'
import { flushPages } from './page-io.js'
import { createPrivateMapping } from './private-mapping.js'
import type {
  AddressSpace,
  AddressSpaceInit,
  CallOptions,
  LocalAddressSpace,
  LocalMapping,
  MmapOptions
} from './types.js'
import { checkCount, checkOneOf, checkOptions } from './validate.js'

const DEFAULT_CACHE_BYTES = 64 * 1024 * 1024
const DEFAULT_FAULT_TIMEOUT_MS = 30_000
const FILE = 1

/** Throws InvalidArgumentError for a page size that is no power of two from 4,096 to 65,536, and the like. */
export function createAddressSpace(init: AddressSpaceInit): LocalAddressSpace {
  return new LocalSpace(init)
}

class LocalSpace implements LocalAddressSpace {
  private readonly host: LocalHost
  private readonly file: OpenFile
  private readonly calls: AddressSpace

  constructor(init: AddressSpaceInit) {
    const { pageSize = 4096, size, cacheBytes = DEFAULT_CACHE_BYTES, faultTimeoutMs = DEFAULT_FAULT_TIMEOUT_MS } = init
    const refusal = refusePageSize(pageSize)
    if (refusal !== undefined) throw refusal
    checkCount('size', size)
    checkCount('cacheBytes', cacheBytes, MIN_CACHE_BYTES)
    checkCount('faultTimeoutMs', faultTimeoutMs, 1)
    const space = new AddressSpacePages({ file: FILE, path: 'address space', pageSize, size })
    this.host = new LocalHost(space, init.ops, cacheBytes, faultTimeoutMs)
    const refreshSize = (): Promise<number> => Promise.resolve(space.size)
    const { path } = space
    this.file = { host: this.host, space, id: FILE, path, pageSize, handles: 1, closing: 0, refreshSize }
    this.calls = createAddressSpaceCalls(this.file)
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
    const { offset = 0, length = this.size - offset, prot = 'read-write', flags = 'shared' } = options
    checkOptions('mmap', options, ['offset', 'length', 'prot', 'flags'])
    checkOneOf('prot', prot, ['read', 'read-write'])
    checkOneOf('flags', flags, ['shared', 'private'])
    checkCount('offset', offset)
    checkCount('length', length, 1)
    const { pageSize } = this.file
    if (offset % pageSize !== 0) throw new InvalidArgumentError('offset', offset, `a multiple of ${pageSize}`)
    const create = flags === 'private' ? createPrivateMapping : createMapping
    return create({ file: this.file, offset, length, writable: prot === 'read-write', onUnmapped: () => {} })
  }

  /** As the kernel truncates: publish the size, unmap, evict, and unmap again, because a private copy can appear in between. */
  async truncate(size: number): Promise<void> {
    checkCount('size', size)
    const { space, pageSize } = this.file
    const before = space.size
    space.size = size
    if (size >= before) return
    const tail = size % pageSize
    if (tail !== 0) await this.host.zero(Math.floor(size / pageSize), tail)
    const start = Math.ceil(size / pageSize) * pageSize
    this.unmapMappingRange(start, 0, { evenCows: true })
    this.host.discard(start / pageSize)
    this.unmapMappingRange(start, 0, { evenCows: true })
  }

  async close(): Promise<void> {
    if (this.host.ended !== undefined) return
    await flushPages(this.file, 0, Number.MAX_SAFE_INTEGER)
    this.host.end()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}
