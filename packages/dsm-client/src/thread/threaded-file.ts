/** A file of a client in a thread of its own: see `DsmFile` in types.ts. */
import type { AddressSpace, CallOptions, FileStat, Mapping, MmapOptions } from '../types.js'
import type { RemoteFile, RemoteMapping } from './messages.js'
import { copyOf } from './copy-of.js'
import type { MappedFile, ThreadContext } from './thread-context.js'
import { ThreadedMapping } from './threaded-mapping.js'

/** Passes the calls of a file on to the client's thread. */
export class ThreadedFile implements MappedFile {
  readonly id: string
  readonly pageSize: number
  readonly addressSpace: AddressSpace
  private lastPath: string
  private closers = 0
  private isClosed = false

  constructor(
    readonly context: ThreadContext,
    readonly remote: RemoteFile
  ) {
    const { id, path, pageSize, object } = remote
    const { link } = context
    this.id = id
    this.lastPath = path
    this.pageSize = pageSize
    this.addressSpace = {
      unmapMappingRange: (...args) => link.callNow(object, 'addressSpace.unmapMappingRange', args),
      writeMappingRange: (start, length, options = {}) =>
        link.call(object, 'addressSpace.writeMappingRange', [start, length], options),
      evictMappingRange: (start, length, options = {}) =>
        link.call(object, 'addressSpace.evictMappingRange', [start, length], options)
    }
  }

  get isOpen(): boolean {
    return this.closers === 0 && !this.isClosed && !this.context.isClosing
  }

  get path(): string {
    if (!this.isClosed && !this.context.link.hasEnded) {
      this.lastPath = this.context.link.callNow(this.remote.object, 'path')
    }
    return this.lastPath
  }

  stat(options: CallOptions = {}): Promise<FileStat> {
    return this.call('stat', [], options)
  }

  read(offset: number, length: number, options: CallOptions = {}): Promise<Uint8Array> {
    return this.call('read', [offset, length], options)
  }

  write(offset: number, bytes: Uint8Array, options: CallOptions = {}): Promise<void> {
    return this.call('write', [offset, copyOf(bytes)], options)
  }

  truncate(size: number, options: CallOptions = {}): Promise<void> {
    return this.call('truncate', [size], options)
  }

  punchHole(offset: number, length: number, options: CallOptions = {}): Promise<void> {
    return this.call('punchHole', [offset, length], options)
  }

  sync(options: CallOptions = {}): Promise<void> {
    return this.call('sync', [], options)
  }

  checksum(offset: number, length: number, options: CallOptions = {}): Promise<number> {
    return this.call('checksum', [offset, length], options)
  }

  link(path: string, options: CallOptions = {}): Promise<void> {
    return this.call('link', [path], options)
  }

  async mmap(options: MmapOptions = {}): Promise<Mapping> {
    const remote = await this.call<RemoteMapping>('mmap', [], options)
    return new ThreadedMapping(this, remote, options.prot !== 'read')
  }

  async close(options: CallOptions = {}): Promise<void> {
    // The end of the client has closed it.
    if (this.context.link.hasEnded) return
    this.closers++
    try {
      await this.call('close', [], options)
      this.isClosed = true
    } finally {
      this.closers--
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  private async call<T>(method: string, args: readonly unknown[], options: object): Promise<T> {
    return this.context.link.call<T>(this.remote.object, method, args, options)
  }
}
