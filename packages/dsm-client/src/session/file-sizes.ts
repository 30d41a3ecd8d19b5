/** Sizes of a session's files (docs/coherence.md, "Files that shrink"). */
import { BusyError, UnavailableError, type WireFileStat } from '@quire/protocol'
import type { AddressSpacePages, Coherence } from '../core/index.js'
import type { PageHost } from '../host.js'
import type { SendRequest } from './request-queue.js'

export interface FileSizesInit {
  readonly host: Pick<PageHost, 'ended' | 'wait'>
  readonly coherence: Coherence
  readonly request: SendRequest
}

interface Waiter {
  resolve(): void
  reject(error: Error): void
}

/** Asks the leader for sizes, in spite of discards under way. */
export class FileSizes {
  /** Calls that wait for the end of a discard, by file. */
  private readonly waiters = new Map<number, Set<Waiter>>()
  /** Files for which a question about a discard is under way. */
  private readonly resolving = new Set<number>()

  constructor(private readonly init: FileSizesInit) {}

  /** Returns the file's stat as a majority knows it now, and raises the bound of its size. */
  async statFile(space: AddressSpacePages, signal?: AbortSignal): Promise<WireFileStat> {
    for (;;) {
      await this.whenNoDiscard(space, signal)
      const { discardsSeen } = space
      const { files } = await this.init.request({ type: 'statFile', file: space.file }, { signal })
      const [stat] = files
      if (stat === undefined) throw new UnavailableError('the leader answered stat without a file')
      // An order to discard has arrived since the request left. The stat may be from before, and its size too large.
      if (space.discardsSeen !== discardsSeen) continue
      space.size = Math.max(space.size, stat.size)
      return stat
    }
  }

  /** Extends the file to at least this size. */
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

  /** A discard of the file is over. With an error: the client gives the file up. */
  discardEnded(file: number, error: Error | undefined): void {
    const waiting = this.waiters.get(file) ?? []
    this.waiters.delete(file)
    for (const waiter of waiting) {
      if (error === undefined) waiter.resolve()
      else waiter.reject(error)
    }
  }

  /**
   * Asks what became of discards during which the connection broke: the file's stat tells. Call it now and then,
   * because faults in the range of the discard wait for the answer.
   */
  resolveDiscards(): void {
    for (const file of this.init.coherence.unresolvedDiscards()) {
      if (this.resolving.has(file)) continue
      this.resolving.add(file)
      // After a failure, the next call asks again, unless the session ends.
      void this.resolveDiscard(file)
        .catch(() => {})
        .finally(() => this.resolving.delete(file))
    }
  }

  private async resolveDiscard(file: number): Promise<void> {
    const [stat] = (await this.init.request({ type: 'statFile', file })).files
    if (stat !== undefined) this.init.coherence.resolveDiscard(file, stat.discards)
  }

  private async whenNoDiscard(space: AddressSpacePages, signal?: AbortSignal): Promise<void> {
    const { host } = this.init
    // Another discard may follow.
    while (space.discard !== undefined && host.ended === undefined) {
      const { path, pageSize, discard } = space
      await host.wait<void>(
        (resolve, reject) => this.enter(space.file, { resolve, reject }),
        signal,
        // A pin delays the discard.
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
