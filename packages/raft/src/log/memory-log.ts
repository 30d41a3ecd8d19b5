import { assert, raftEntryBytes } from '@quire/protocol'
import type { Entry, HardState } from '../core/types.js'
import { LogFailedError } from '../errors.js'
import { FIRST_BASE } from './segment-base.js'
import { firstContent } from './creation.js'
import type { LogCreation, LogWrite, RaftLog } from './types.js'

export interface MemoryLogInit {
  /**
   * Default: an empty log that joins. A node's memory does not survive its process, so the next process must join under
   * a new id. Use `bootstrap` only for a cluster whose members all start and end together.
   */
  readonly create?: LogCreation
  /** Calls `callback` later. A Clock's `schedule` fits. By default a flush completes in the next microtask. */
  readonly schedule?: (delayMs: number, callback: () => void) => unknown
  /** Duration of the next flush. Default 0. */
  readonly latencyMs?: () => number
}

/**
 * A log in memory, for tests, and for groups that need not outlive their processes. Only compaction bounds its size.
 */
export interface MemoryLog extends RaftLog {
  /**
   * Simulates a power loss. Durable writes are kept, and any number of the first writes that are not durable. Returns
   * the log as the next start finds it. This log is dead: its promises never settle.
   */
  crash(random: () => number): MemoryLog
  /** Makes the next flush fail with `error`. */
  failNextWrite(error: Error): void
}

export function createMemoryLog(init: MemoryLogInit = {}): MemoryLog {
  const content = new Content()
  content.apply(firstContent(init.create ?? { join: true }))
  return new VolatileLog(init, content)
}

/** Holds the durable content of a `MemoryLog`. */
class Content {
  prevIndex = FIRST_BASE.prevIndex
  prevTerm = FIRST_BASE.prevTerm
  hardState = FIRST_BASE.hardState
  /** The configuration in force at `prevIndex`, if there is one, and every later one. */
  configurations: Entry[] = []
  /** The entries from `prevIndex + 1` on. */
  entries: Entry[] = []

  get lastIndex(): number {
    return this.prevIndex + this.entries.length
  }

  term(index: number): number | undefined {
    return index === this.prevIndex ? this.prevTerm : this.entries[index - this.prevIndex - 1]?.term
  }

  apply({ reset, hardState, entries }: LogWrite): void {
    if (reset !== undefined) {
      this.prevIndex = reset.index
      this.prevTerm = reset.term
      this.configurations = [reset.configuration]
      this.entries = []
    }
    if (hardState !== undefined) this.hardState = hardState
    const first = entries[0]?.index ?? this.lastIndex + 1
    assert(
      first > this.prevIndex && first <= this.lastIndex + 1,
      `append ${first} to ${this.prevIndex}..${this.lastIndex}`
    )
    if (first <= this.lastIndex) {
      this.entries.length = first - this.prevIndex - 1
      this.configurations = this.configurations.filter(({ index }) => index < first)
    }
    for (const entry of entries) {
      assert(entry.index === this.lastIndex + 1, `entry ${entry.index} after ${this.lastIndex}`)
      this.entries.push(entry)
      if (entry.kind === 'config') this.configurations.push(entry)
    }
  }

  indexBefore(bytes: number): number {
    let index = this.lastIndex
    for (let kept = 0; kept < bytes && index > this.prevIndex; index--) {
      kept += raftEntryBytes(this.entries[index - this.prevIndex - 1]!)
    }
    return index
  }

  compact(index: number): void {
    const prevIndex = Math.min(index, this.lastIndex)
    if (prevIndex <= this.prevIndex) return
    this.prevTerm = this.term(prevIndex)!
    this.entries.splice(0, prevIndex - this.prevIndex)
    this.configurations.splice(
      0,
      Math.max(
        0,
        this.configurations.findLastIndex((config) => config.index <= prevIndex)
      )
    )
    this.prevIndex = prevIndex
  }
}

interface UnflushedAppend {
  readonly write: LogWrite
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

/** Runs the flushes of a `MemoryLog`. */
class VolatileLog implements MemoryLog {
  private queue: UnflushedAppend[] = []
  /** How many appends of the queue the flush under way covers; 0 if none is under way. */
  private covered = 0
  private failure: Error | undefined
  private failNext: Error | undefined
  private alive = true
  private whenIdle: (() => void)[] = []

  constructor(
    private readonly init: MemoryLogInit,
    private readonly content: Content
  ) {}

  get hardState(): HardState {
    return this.content.hardState
  }

  get configurations(): readonly Entry[] {
    return this.content.configurations.slice()
  }

  get firstIndex(): number {
    return this.content.prevIndex + 1
  }

  get bytes(): number {
    return this.content.entries.reduce((sum, entry) => sum + raftEntryBytes(entry), 0)
  }

  get lastIndex(): number {
    return this.content.lastIndex
  }

  indexBefore(bytes: number): number {
    return this.content.indexBefore(bytes)
  }

  term(index: number): number | undefined {
    return this.content.term(index)
  }

  entries(lo: number, hi: number, maxBytes: number): readonly Entry[] {
    const { firstIndex, lastIndex } = this
    assert(lo >= firstIndex && hi <= lastIndex + 1 && lo < hi, `entries ${lo}..${hi} of ${firstIndex}..${lastIndex}`)
    let bytes = 0
    const found: Entry[] = []
    for (let index = lo; index < hi; index++) {
      const entry = this.content.entries[index - firstIndex]!
      bytes += raftEntryBytes(entry)
      if (bytes > maxBytes && found.length > 0) break
      found.push(entry)
    }
    return found
  }

  append(write: LogWrite): Promise<void> {
    if (this.failure !== undefined) return Promise.reject(this.failure)
    return new Promise((resolve, reject) => {
      if (!this.alive) return
      this.queue.push({ write, resolve, reject })
      if (this.covered === 0) this.flush()
    })
  }

  compact(index: number, retainedBytes = 0): Promise<void> {
    if (this.failure !== undefined) return Promise.reject(this.failure)
    this.content.compact(Math.min(index, this.content.indexBefore(retainedBytes)))
    return Promise.resolve()
  }

  async close(): Promise<void> {
    if (this.covered > 0) await new Promise<void>((resolve) => this.whenIdle.push(resolve))
    this.failure ??= new LogFailedError(new Error('it is closed'))
  }

  crash(random: () => number): MemoryLog {
    assert(this.alive, 'a log crashes once')
    this.alive = false
    const kept = Math.floor(random() * (this.queue.length + 1))
    for (const { write } of this.queue.slice(0, kept)) this.content.apply(write)
    return new VolatileLog(this.init, this.content)
  }

  failNextWrite(error: Error): void {
    this.failNext = error
  }

  private flush(): void {
    this.covered = this.queue.length
    const { schedule = (_, callback) => queueMicrotask(callback), latencyMs = () => 0 } = this.init
    schedule(latencyMs(), () => {
      if (this.alive) this.flushed()
    })
  }

  private flushed(): void {
    try {
      if (this.failNext !== undefined) throw this.failNext
      for (const { write, resolve } of this.queue.slice(0, this.covered)) {
        this.content.apply(write)
        this.queue.shift()
        resolve()
      }
    } catch (error) {
      this.failure = new LogFailedError(error)
      // The failed appends stay in the queue, because a crash may keep them.
      for (const { reject } of this.queue) reject(this.failure)
    }
    this.covered = 0
    if (this.queue.length > 0 && this.failure === undefined) this.flush()
    else for (const resolve of this.whenIdle.splice(0)) resolve()
  }
}
