/**
 * What a session asks of the leader: numbered, sent in order and not too much at once, and repeated on each connection
 * until it is answered.
 */
import type { ClientMessage, LeaderMessage } from '@quire/protocol'

export type Reply = Extract<LeaderMessage, { seq: number; type: 'opened' | 'files' | 'done' | 'failed' }>
type Request = Extract<ClientMessage, { seq: number }>
/** A request without what is filled in here. */
export type RequestBody = Request extends infer R ? (R extends Request ? Omit<R, 'seq' | 'settled'> : never) : never

export interface RequestOptions {
  readonly signal?: AbortSignal | undefined
  /**
   * Called with the answer in the step in which it arrives: before what the leader has sent behind it, and before the
   * promise. Not with `failed`.
   */
  readonly onAnswer?: (reply: Exclude<Reply, { type: 'failed' }>) => void
  /**
   * Called when an answer comes that nobody waits for any more. Without it, a request that is given up is not repeated.
   */
  readonly onLate?: (reply: Reply) => void
}

interface PendingRequest {
  readonly body: RequestBody
  settle(reply: Reply): void
  reject(error: Error): void
}

/**
 * Requests on their way at the same time, well below what a leader takes from one session. The others wait for their
 * turn.
 */
const MAX_REQUESTS = 32
/**
 * How far a request's seq may be above the oldest that is unanswered: a session's answers are remembered up to here.
 */
const MAX_SEQ_AHEAD = 512

export class RequestQueue {
  /** Requests without an answer, in order of seq. */
  private readonly pending = new Map<number, PendingRequest>()
  /** Those of them that were not sent on this connection. */
  private unsent: number[] = []
  /** What was sent on this connection and is not answered, wanted or not. */
  private readonly underWay = new Set<number>()
  private nextSeq = 1
  /** Undefined: nobody is connected. */
  private send: ((message: ClientMessage) => void) | undefined

  get size(): number {
    return this.pending.size
  }

  /**
   * Sends it, when its turn comes. Returns what withdraws it: it may have been carried out by then, or may yet be. With
   * `onLate` it is repeated all the same, and the answer goes there.
   */
  add(request: PendingRequest, onLate?: (reply: Reply) => void): () => void {
    const seq = this.nextSeq++
    this.pending.set(seq, request)
    this.unsent.push(seq)
    this.pump()
    return () => {
      if (onLate === undefined) this.pending.delete(seq)
      else this.pending.set(seq, { ...request, settle: onLate, reject: () => {} })
    }
  }

  connected(send: (message: ClientMessage) => void): void {
    this.send = send
    this.underWay.clear()
    this.unsent = [...this.pending.keys()]
    this.pump()
  }

  disconnected(): void {
    this.send = undefined
  }

  answered(reply: Reply): void {
    const request = this.pending.get(reply.seq)
    this.pending.delete(reply.seq)
    this.underWay.delete(reply.seq)
    request?.settle(reply)
    this.pump()
  }

  /** None will be answered any more. */
  fail(error: Error): void {
    for (const request of this.pending.values()) request.reject(error)
    this.pending.clear()
  }

  private pump(): void {
    while (this.send !== undefined && this.unsent.length > 0 && this.underWay.size < MAX_REQUESTS) {
      // Everything below the oldest unanswered request has been answered.
      const [settled] = this.pending.keys()
      const seq = this.unsent[0]!
      if (settled !== undefined && seq >= settled + MAX_SEQ_AHEAD) return
      this.unsent.shift()
      const request = this.pending.get(seq)
      if (request === undefined) continue
      this.underWay.add(seq)
      this.send({ ...request.body, seq, settled } as ClientMessage)
    }
  }
}
