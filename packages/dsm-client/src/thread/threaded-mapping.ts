/** A mapping of a client in a thread of its own: see `LocalMapping` in types.ts. */
import type { Advice, CallOptions, Mapping, PinnedRange } from '../types.js'
import { allocateResult, checkBytes } from '../validate.js'
import { DirectMapping } from './direct-mapping.js'
import type { RemoteMapping, RemotePin } from './messages.js'
import { copyOf } from './copy-of.js'
import type { MappedFile } from './thread-context.js'
import { ThreadedPin } from './threaded-pin.js'

/**
 * Uses mapped pages by itself, and passes everything else on to the client's thread.
 *
 * That includes what is wrong: the client's thread refuses it as it does without a thread.
 */
export class ThreadedMapping implements Mapping {
  readonly offset: number
  readonly length: number
  private readonly object: number
  /** What the program does by itself. Undefined for a private mapping. */
  private readonly direct: DirectMapping | undefined
  private unmappers = 0
  private isUnmapped = false

  constructor(
    readonly file: MappedFile,
    { object, offset, length, isShared }: RemoteMapping,
    private readonly isWritable: boolean
  ) {
    this.object = object
    this.offset = offset
    this.length = length
    if (!isShared) return
    const { context, remote, pageSize } = file
    const recorder = context.recorderOf(remote.session)
    const { direct } = context
    const now = (): number => context.now()
    this.direct = new DirectMapping({
      direct,
      recorder,
      space: remote.space,
      file: Number(remote.id),
      pageSize,
      offset,
      now
    })
  }

  async read(offset: number, length: number, options: CallOptions = {}): Promise<Uint8Array> {
    if (options.signal === undefined && this.direct !== undefined && this.isInside(offset, length)) {
      const target = allocateResult(length)
      if (this.readDirectly(offset, target)) return target
    }
    return this.call('read', [offset, length], options)
  }

  async readInto(offset: number, target: Uint8Array, options: CallOptions = {}): Promise<void> {
    checkBytes('target', target)
    if (options.signal === undefined && this.readDirectly(offset, target)) return
    target.set(await this.call<Uint8Array>('read', [offset, target.length], options))
  }

  async write(offset: number, bytes: Uint8Array, options: CallOptions = {}): Promise<void> {
    if (options.signal !== undefined || !this.writeDirectly(offset, bytes)) {
      return this.call('write', [offset, copyOf(bytes)], options)
    }
    if (!this.file.context.direct.isLeaseValid()) await this.call('whenActive', [], options)
  }

  tryRead(offset: number, target: Uint8Array): boolean {
    checkBytes('target', target)
    if (this.readDirectly(offset, target)) return true
    const bytes = this.callNow<Uint8Array | false>('tryRead', [offset, target.length])
    if (bytes === false) return false
    target.set(bytes)
    return true
  }

  tryWrite(offset: number, bytes: Uint8Array): boolean {
    return this.writeDirectly(offset, bytes) || this.callNow('tryWrite', [offset, copyOf(bytes)])
  }

  async pin(offset: number, length: number, access: 'read' | 'write', options: CallOptions = {}): Promise<PinnedRange> {
    const { context } = this.file
    return new ThreadedPin(context, await this.call<RemotePin>('pin', [offset, length, access], options))
  }

  advise(offset: number, length: number, advice: Advice, options: CallOptions = {}): Promise<void> {
    return this.call('advise', [offset, length, advice], options)
  }

  msync(offset?: number, length?: number, options: CallOptions = {}): Promise<void> {
    return this.call('msync', [offset, length], options)
  }

  async munmap(options: CallOptions = {}): Promise<void> {
    // The end of the client has unmapped it.
    if (this.file.context.link.hasEnded) return
    this.unmappers++
    try {
      await this.call('munmap', [], options)
      this.isUnmapped = true
    } finally {
      this.unmappers--
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.munmap()
  }

  /** The range has bytes, which lie in this mapping, and nothing ends the mapping. */
  private isInside(offset: number, length: number): boolean {
    if (this.unmappers > 0 || this.isUnmapped || !this.file.isOpen) return false
    return Number.isSafeInteger(offset) && offset >= 0 && length > 0 && offset + length <= this.length
  }

  private readDirectly(offset: number, target: Uint8Array): boolean {
    return this.direct !== undefined && this.isInside(offset, target.length) && this.direct.tryRead(offset, target)
  }

  private writeDirectly(offset: number, bytes: Uint8Array): boolean {
    if (this.direct === undefined || !this.isWritable || !(bytes instanceof Uint8Array)) return false
    return this.isInside(offset, bytes.length) && this.direct.tryWrite(offset, bytes)
  }

  private call<T>(method: string, args: readonly unknown[], options: object): Promise<T> {
    return this.file.context.link.call<T>(this.object, method, args, options)
  }

  private callNow<T>(method: string, args: readonly unknown[]): T {
    return this.file.context.link.callNow<T>(this.object, method, args)
  }
}
