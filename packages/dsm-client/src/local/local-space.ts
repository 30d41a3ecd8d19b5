/**
 * Address spaces without a cluster: a program's own `VmOperations` provide their pages and take them back. The page
 * table, the mappings and the calls on ranges are those of a file of the cluster.
 */
import { createClock } from '@quire/net'
import { ClosedError, MAX_FILE_BYTES, type Clock } from '@quire/protocol'
import { createAddressSpaceCalls } from '../api/address-space.js'
import { MIN_CACHE_BYTES } from '../core/index.js'
import type { OpenFile } from '../host.js'
import { LocalHost } from './local-host.js'
import { Truncations } from './truncations.js'
import { createMapping } from '../api/shared-mapping.js'
import { checkUsable, flushFile } from '../api/page-io.js'
import { OneTimeTask } from '../one-time-task.js'
import { createPrivateMapping } from '../api/private-mapping.js'
import { DEFAULT_CACHE_BYTES, DEFAULT_FAULT_TIMEOUT_MS } from '../api/settings.js'
import type { AddressSpaceInit, LocalAddressSpace } from '../local-types.js'
import type { AddressSpace, CallOptions, LocalMapping, MmapOptions } from '../types.js'
import { checkCount, checkFunction, checkMapped, checkMmapOptions, checkOptions, checkPageSize } from '../validate.js'
import { throwIfAborted } from '../waiting.js'

const FILE = 1

/**
 * Creates an address space on a program's own hooks. Throws InvalidArgumentError for options that are out of range,
 * such as a page size that is not a power of two from 4,096 to 65,536, and for missing hooks.
 */
export function createAddressSpace(init: AddressSpaceInit): LocalAddressSpace {
  return createAddressSpaceOn(createClock(), init)
}

/** Like {@link createAddressSpace}, on a clock of the caller. */
export function createAddressSpaceOn(clock: Clock, init: AddressSpaceInit): LocalAddressSpace {
  return new LocalSpace(clock, init)
}

/** Implements the calls of an address space. */
class LocalSpace implements LocalAddressSpace {
  private readonly host: LocalHost
  private readonly file: OpenFile
  private readonly calls: AddressSpace
  private readonly closing = new OneTimeTask()
  private readonly truncations: Truncations

  constructor(clock: Clock, init: AddressSpaceInit) {
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
    this.host = new LocalHost({
      clock,
      space: { file: FILE, path: 'address space', pageSize, size },
      ops,
      cacheBytes,
      timeoutMs: faultTimeoutMs
    })
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
    this.truncations = new Truncations(this.host, this.file)
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
    await this.truncations.truncate(size, signal)
  }

  close({ signal }: CallOptions = {}): Promise<void> {
    // Dirty pages that cannot be written back stay, and so does the space.
    return this.closing.run(() => this.doClose(), signal)
  }

  private async doClose(): Promise<void> {
    // From here on, no write may come that the flush would miss.
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
