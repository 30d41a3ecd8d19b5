/** The history of a client's operations, for checkers. */
import { toString } from 'uint8arrays/to-string'
import type { LostRange } from '@quire/protocol'

export type HistoryOp = 'read' | 'write' | 'exchange' | 'sync' | 'truncate' | 'punch' | 'size' | 'writeback' | 'lost'

/** An operation, or the fate of written bytes. Offsets and lengths are in bytes; bytes are hexadecimal. */
export interface HistoryEvent {
  /** The client's PeerId. */
  readonly client: string
  /** The id of the session. */
  readonly process: string
  readonly file: string
  /** For `truncate` and `size`: the size. */
  readonly offset: number
  readonly length: number
  /**
   * `exchange`: a read and a write in one step, as under a pin. `writeback`: the page's bytes, as of `call`, are
   * durable at `return`; with `info`, they may be. `lost`: the session ended with unflushed bytes in the range.
   */
  readonly op: HistoryOp
  readonly value?: string
  readonly from?: string
  readonly to?: string
  /** For `write`: the call extended the file if it was too short. */
  readonly grew?: boolean
  /** `fail`: the operation did not happen. `info`: it may have happened. */
  readonly status: 'ok' | 'fail' | 'info'
  /** When the operation began, in nanoseconds of the machine's monotonic clock. */
  readonly call: number
  /** When it ended. */
  readonly return: number
}

type Facts = Partial<Pick<HistoryEvent, 'value' | 'from' | 'to' | 'grew'>>

/** The meaning of an operation's rejection. */
interface Rejection {
  mayHaveHappened(): boolean
  facts?(): Facts
}

/** The cluster may have carried the operation out. */
export const UNKNOWN: Rejection = { mayHaveHappened: () => true }

export interface RecorderInit {
  readonly client: string
  readonly process: () => string
  /** Milliseconds. */
  readonly now: () => number
  readonly emit: ((event: HistoryEvent) => void) | undefined
}

/** A page's bytes on their way. `at`: when they left, in milliseconds. */
interface PageInFlight extends PageVersion {
  readonly pageSize: number
  readonly at: number
}

/** Reports a client's operations to the listener of its history. */
export class Recorder {
  /** Unacknowledged writebacks by page, the oldest first. */
  private readonly inFlight = new Map<string, PageInFlight[]>()

  constructor(private readonly init: RecorderInit) {}

  /** Whether there is a listener. Without one, nothing here costs anything. */
  get isOn(): boolean {
    return this.init.emit !== undefined
  }

  /** Runs an operation and records its outcome. Calls `facts` after it ends. */
  async record<T>(
    op: HistoryOp,
    file: number,
    offset: number,
    length: number,
    facts: (result: T) => Facts & { readonly offset?: number },
    action: () => Promise<T>,
    rejection: Rejection = { mayHaveHappened: () => false }
  ): Promise<T> {
    if (!this.isOn) return action()
    const call = this.init.now()
    // The operation belongs to the session in which it began.
    const process = this.init.process()
    const base = { op, file, offset, length, call, process }
    try {
      const result = await action()
      this.emit({ ...base, ...facts(result), status: 'ok' })
      return result
    } catch (error) {
      this.emit({ ...base, ...rejection.facts?.(), status: rejection.mayHaveHappened() ? 'info' : 'fail' })
      throw error
    }
  }

  /** Records an operation that is over. */
  note(
    op: HistoryOp,
    file: number,
    offset: number,
    length: number,
    facts: Facts,
    { call = this.init.now(), status = 'ok' }: { readonly call?: number; readonly status?: 'ok' | 'info' } = {}
  ): void {
    if (this.isOn) this.emit({ op, file, offset, length, call, process: this.init.process(), ...facts, status })
  }

  /** Bytes of a page leave to become durable. */
  writing(version: PageVersion & { readonly pageSize: number }): void {
    if (!this.isOn) return
    const departed = { ...version, at: this.init.now() }
    const key = keyOf(version)
    this.inFlight.set(key, [...(this.inFlight.get(key) ?? []), departed])
  }

  /** They are durable. They overwrite all bytes of the page that left before them. */
  written(version: PageVersion): void {
    const key = keyOf(version)
    const all = this.inFlight.get(key) ?? []
    const at = all.findIndex(({ epoch, seq }) => epoch === version.epoch && seq === version.seq)
    if (at < 0) return
    if (at + 1 < all.length) this.inFlight.set(key, all.slice(at + 1))
    else this.inFlight.delete(key)
    this.writeback(all[at]!, 'ok')
  }

  lost(ranges: readonly LostRange[]): void {
    if (!this.isOn) return
    for (const all of this.inFlight.values()) for (const page of all) this.writeback(page, 'info')
    this.inFlight.clear()
    const call = this.init.now()
    const process = this.init.process()
    for (const { file, offset, length } of ranges) {
      this.emit({ op: 'lost', file: Number(file), offset, length, call, process, status: 'ok' })
    }
  }

  private writeback({ file, page, pageSize, at }: PageInFlight, status: 'ok' | 'info'): void {
    const process = this.init.process()
    this.emit({ op: 'writeback', file, offset: page * pageSize, length: pageSize, call: at, process, status })
  }

  private emit(event: Omit<HistoryEvent, 'client' | 'file' | 'return'> & { readonly file: number }): void {
    const { file, call, ...rest } = event
    try {
      this.init.emit?.({
        client: this.init.client,
        ...rest,
        file: String(file),
        call: Math.round(call * 1e6),
        return: Math.round(this.init.now() * 1e6)
      })
    } catch (error) {
      // As with a listener of an event: the error must not interrupt what is under way here, such as sending messages.
      queueMicrotask(() => {
        throw error
      })
    }
  }
}

interface PageVersion {
  readonly file: number
  readonly page: number
  readonly epoch: number
  readonly seq: number
}

function keyOf({ file, page }: PageVersion): string {
  return `${file}:${page}`
}

export function hex(bytes: Uint8Array): string {
  return toString(bytes, 'hex')
}
