import type { Clock } from '@quire/protocol'
import type { Unstamped } from '../directory/types.js'
import { encodeCommand } from '../state/commands.js'
import type { RaftPort } from './raft-port.js'

interface Waiting {
  readonly data: Uint8Array
  readonly proposed: ((index: number) => void) | undefined
}

/**
 * Commands on their way into the log, in order. Those that the log has no room for wait here; callers look at `full` before
 * they take on more work. Ends with the leadership: what was not proposed by then never happened, and clients repeat it.
 */
export class Proposals {
  private queue: Waiting[] = []
  private queuedBytes = 0
  private ended = false

  constructor(
    private readonly raft: Pick<RaftPort, 'propose'>,
    private readonly clock: Pick<Clock, 'wallTime'>,
    private readonly maxBytes: number
  ) {}

  get full(): boolean {
    return this.queuedBytes >= this.maxBytes
  }

  /** Stamps and proposes `command`. `proposed` learns the entry's index, at once or when there is room. */
  add(command: Unstamped, proposed?: (index: number) => void): void {
    if (this.ended) return
    const data = encodeCommand({ ...command, at: this.clock.wallTime() })
    this.queue.push({ data, proposed })
    this.queuedBytes += data.length
    if (this.queue.length === 1) this.retry()
  }

  /** Entries were applied: there may be room again. */
  retry(): void {
    let taken = 0
    for (const waiting of this.queue) {
      const index = this.propose(waiting.data)
      if (index === undefined) break
      taken++
      this.queuedBytes -= waiting.data.length
      waiting.proposed?.(index)
    }
    if (taken > 0) this.queue.splice(0, taken)
  }

  end(): void {
    this.ended = true
    this.queue = []
    this.queuedBytes = 0
  }

  private propose(data: Uint8Array): number | undefined {
    if (this.ended) return undefined
    try {
      return this.raft.propose(data).index
    } catch (error) {
      const name = (error as Error).name
      if (name === 'NotLeaderError' || name === 'ClosedError') this.end()
      else if (name !== 'BackPressureError') throw error
      return undefined
    }
  }
}
