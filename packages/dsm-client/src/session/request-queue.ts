/** Requests of a session to the leader. */
import {
  REQUESTS,
  type ClientMessage,
  type ClientMessageOf,
  type LeaderMessageOf,
  type ReplyTo,
  type RequestType
} from '@quire/protocol'

export type Reply = ReplyTo<RequestType> | LeaderMessageOf<'failed'>
/** A request without the fields that the queue fills in. */
export type RequestBody = { [K in RequestType]: Omit<ClientMessageOf<K>, 'seq' | 'settled'> }[RequestType]
/** Sends a request, and resolves with its answer. */
export type SendRequest = <T extends RequestType>(
  body: RequestBody & { readonly type: T },
  options?: RequestOptions<T>
) => Promise<ReplyTo<T>>

export function isReplyTo<T extends RequestType>(type: T, reply: Reply): reply is ReplyTo<T> {
  return reply.type === REQUESTS[type].reply
}

export interface RequestOptions<T extends RequestType = RequestType> {
  readonly signal?: AbortSignal | undefined
  /**
   * Receives the answer as soon as it arrives: before the messages that follow it, and before the promise resolves. It
   * never receives `failed`.
   */
  readonly onAnswer?: (reply: ReplyTo<T>) => void
  /**
   * Receives an answer that arrives after the caller has left. Without it, the queue does not repeat an abandoned
   * request.
   */
  readonly onLate?: (reply: Reply) => void
}

interface PendingRequest {
  readonly body: RequestBody
  settle(reply: Reply): void
  reject(error: Error): void
}

/** Requests on their way at the same time: well below what a leader accepts from one session. */
const MAX_REQUESTS = 32
/**
 * How far a request may be ahead of the oldest unanswered request: the cluster remembers this many answers of a
 * session.
 */
const MAX_SEQ_AHEAD = 512

/**
 * Repeats each request on every connection until its answer arrives.
 *
 * Requests leave in order. The queue numbers them, so that the cluster carries each out at most once.
 */
export class RequestQueue {
  /** Requests without an answer, in the order of their numbers. */
  private readonly pending = new Map<number, PendingRequest>()
  /** Numbers of those that have not left on this connection. */
  private unsent: number[] = []
  /** Numbers of the requests that have left on this connection and have no answer, abandoned ones included. */
  private readonly underWay = new Set<number>()
  private nextSeq = 1
  /** Undefined without a connection. */
  private send: ((message: ClientMessage) => void) | undefined

  get size(): number {
    return this.pending.size
  }

  /**
   * Sends the request in its turn. Returns a function that abandons it: the cluster may have carried it out, or may
   * still do so. With `onLate`, the queue goes on repeating it, and passes the answer to `onLate`.
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

  /** Fails all requests. */
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
