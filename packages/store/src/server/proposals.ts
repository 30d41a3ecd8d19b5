import type { Clock } from '@quire/protocol'
import type { Unstamped } from '../directory/types.js'
import { encodeCommand } from '../state/commands.js'
import type { RaftPort } from './raft-port.js'

interface WaitingProposal {
  readonly data: Uint8Array
  readonly proposed: ((index: number) => void) | undefined
}

/**
 * Proposes the commands of one term to the log, in order.
 *
 * Commands wait here while the log has no room. Callers check `full` before they accept more work. When the term ends,
 * commands that were not proposed are dropped, and clients repeat their requests.
 */
export class Proposals {
  private queue: WaitingProposal[] = []
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

  /** Stamps and proposes `command`. Calls `proposed` with the entry's index, at once or when the log has room. */
  add(command: Unstamped, proposed?: (index: number) => void): void {
    if (this.ended) return
    const data = encodeCommand({ ...command, at: this.clock.wallTime() })
    this.queue.push({ data, proposed })
    this.queuedBytes += data.length
    if (this.queue.length === 1) this.retry()
  }

  /** Proposes waiting commands. Call it when entries were applied, because the log may have room again. */
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
