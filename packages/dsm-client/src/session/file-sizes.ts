/** What a session knows of its files' sizes, and asks of them (docs/coherence.md, "Files that shrink"). */
import { BusyError, UnavailableError, type LeaderMessage, type WireFileStat } from '@quire/protocol'
import type { AddressSpacePages, Coherence } from '../core/index.js'
import type { PageHost } from '../host.js'
import type { RequestBody, RequestOptions } from './request-queue.js'

export interface FileSizesInit {
  readonly host: Pick<PageHost, 'ended' | 'wait' | 'drain'>
  readonly coherence: Coherence
  readonly request: (body: RequestBody, options?: RequestOptions) => Promise<LeaderMessage>
}

interface Waiter {
  resolve(): void
  reject(error: Error): void
}

export class FileSizes {
  /** Who waits for a discard of a file to be over. */
  private readonly waiters = new Map<number, Set<Waiter>>()
  /** Files of which it is being asked what became of a discard. */
  private readonly resolving = new Set<number>()

  constructor(private readonly init: FileSizesInit) {}

  /** The file as a majority knows it now. Raises the bound of its size. */
  async statFile(space: AddressSpacePages, signal?: AbortSignal): Promise<WireFileStat> {
    for (;;) {
      await this.whenNoDiscard(space, signal)
      const { discardsSeen } = space
      const reply = await this.init.request({ type: 'statFile', file: space.file }, { signal })
      const stat = reply.type === 'files' ? reply.files[0] : undefined
      if (stat === undefined) throw new UnavailableError(`the leader answered stat with ${reply.type}`)
      // Made before a discard began that has been heard of since: it may be more than the file has.
      if (space.discardsSeen !== discardsSeen) continue
      space.size = Math.max(space.size, stat.size)
      return stat
    }
  }

  /** The file has at least this size, for now. */
  async extend(space: AddressSpacePages, size: number, signal?: AbortSignal): Promise<void> {
    for (;;) {
      await this.whenNoDiscard(space, signal)
      const { discardsSeen } = space
      await this.init.request({ type: 'extend', file: space.file, size }, { signal })
      if (space.discardsSeen !== discardsSeen) continue
      space.size = Math.max(space.size, size)
      return
    }
  }

  /** A discard of the file is over, or with an error: the file is given up. */
  discardEnded(file: number, error: Error | undefined): void {
    const waiting = this.waiters.get(file) ?? []
    this.waiters.delete(file)
    for (const waiter of waiting) {
      if (error === undefined) waiter.resolve()
      else waiter.reject(error)
    }
  }

  /**
   * The connection broke in the middle of discards: whether they happened is in the log, and told with the file. Call
   * it now and then: faults of their ranges wait for it.
   */
  resolveDiscards(): void {
    for (const file of this.init.coherence.unresolvedDiscards()) {
      if (this.resolving.has(file)) continue
      this.resolving.add(file)
      // When it fails, the session's end settles it, or the next call.
      void this.resolveDiscard(file)
        .catch(() => {})
        .finally(() => this.resolving.delete(file))
    }
  }

  private async resolveDiscard(file: number): Promise<void> {
    const reply = await this.init.request({ type: 'statFile', file })
    const stat = reply.type === 'files' ? reply.files[0] : undefined
    if (stat !== undefined) this.init.coherence.resolveDiscard(file, stat.discards)
    this.init.host.drain()
  }

  private async whenNoDiscard(space: AddressSpacePages, signal?: AbortSignal): Promise<void> {
    const { host } = this.init
    // One can follow another.
    while (space.discard !== undefined && host.ended === undefined) {
      const { path, pageSize, discard } = space
      await host.wait<void>(
        (resolve, reject) => this.enter(space.file, { resolve, reject }),
        signal,
        // Somebody's pin holds it up.
        () => new BusyError(path, discard.first * pageSize)
      )
    }
  }

  private enter(file: number, waiter: Waiter): () => void {
    const waiting = this.waiters.get(file) ?? new Set()
    this.waiters.set(file, waiting.add(waiter))
    return () => {
      waiting.delete(waiter)
      if (waiting.size === 0 && this.waiters.get(file) === waiting) this.waiters.delete(file)
    }
  }
}
