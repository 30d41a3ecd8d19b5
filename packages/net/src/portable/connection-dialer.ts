/**
 * libp2p's own dial queue tries the addresses of a peer one after the other, up to six seconds each, and lets later
 * dials to the peer join the first. This module calls the transports directly instead: it staggers the addresses and
 * gives each dial its own time limits. libp2p still lists the connections among the node's own, because its upgrader
 * announces them.
 */
import type { Connection } from '@libp2p/interface'
import { multiaddr, type Multiaddr } from '@multiformats/multiaddr'
import type { AbortSignalLike } from '@quire/protocol'
import { onAbort } from './abort.js'
import { withDeadline } from './deadline.js'
import { firstAnswer, type FirstAnswer } from './first-answer.js'

/** The part of libp2p's transport manager that dials. */
export interface Transports {
  dial(
    address: Multiaddr,
    options: { readonly signal: AbortSignal; readonly onProgress: (event: { readonly type: string }) => void }
  ): Promise<Connection>
}

/** libp2p's progress event between the TCP handshake and the encryption handshake. */
const CONNECTED = 'upgrader:encrypt-outbound-connection'
/** The next address starts after this share of a step: a quarter of a second with the default timing. */
const DELAY_SHARE = 1 / 10
/** Limit of sockets for one dial. Each takes a file descriptor until its step is over. */
const MAX_AT_ONCE = 8

/** One connection attempt, shared by all dials that wait for it. */
interface Attempt {
  readonly controller: AbortController
  readonly connection: Promise<Connection>
  /** Called once TCP has connected. One callback for each dial. */
  readonly waiting: Set<() => void>
}

/** Makes new connections to peers. */
export class ConnectionDialer {
  /** The attempts in progress, by address. */
  private readonly attempts = new Map<string, Attempt>()
  private closed: Error | undefined

  constructor(private readonly transports: Transports) {}

  /**
   * Dials `addresses` in this order, staggered, and resolves with the first connection. All of them are whole
   * multiaddrs of one peer. Each has `stepMs` to accept the connection and another `stepMs` to secure it. Concurrent
   * dials to one address share one attempt.
   */
  connect(
    addresses: readonly string[],
    stepMs: number,
    signal: AbortSignalLike | undefined
  ): Promise<FirstAnswer<Connection>> {
    return firstAnswer(addresses, {
      delayMs: stepMs * DELAY_SHARE,
      maxAtOnce: MAX_AT_ONCE,
      signal,
      attempt: (address, ended, gotOn) => this.connectAt(address, stepMs, ended, gotOn)
    })
  }

  /** Aborts all attempts. Later dials reject with `reason`. */
  close(reason: Error): void {
    this.closed ??= reason
    for (const { controller } of this.attempts.values()) controller.abort(reason)
  }

  private async connectAt(
    address: string,
    stepMs: number,
    signal: AbortSignal,
    gotOn: () => void
  ): Promise<Connection> {
    if (this.closed !== undefined) throw this.closed
    return withDeadline(stepMs, signal, (deadline) =>
      this.share(address, deadline.signal, () => {
        deadline.restart()
        gotOn()
      })
    )
  }

  /** Joins the attempt at `address`, or starts one. The attempt is aborted when its last waiter leaves. */
  private share(address: string, signal: AbortSignal, connected: () => void): Promise<Connection> {
    const attempt = this.attempts.get(address) ?? this.begin(address)
    attempt.waiting.add(connected)
    return new Promise((resolve, reject) => {
      const leave = onAbort(signal, () => {
        attempt.waiting.delete(connected)
        if (attempt.waiting.size === 0) this.abandon(address, attempt, signal.reason)
        reject(signal.reason as Error)
      })
      attempt.connection.then(resolve, reject).finally(leave)
    })
  }

  private begin(address: string): Attempt {
    const controller = new AbortController()
    const waiting = new Set<() => void>()
    const onProgress = ({ type }: { readonly type: string }): void => {
      if (type === CONNECTED) for (const each of waiting) each()
    }
    const connection = this.transports.dial(multiaddr(address), { signal: controller.signal, onProgress })
    const attempt: Attempt = { controller, connection, waiting }
    this.attempts.set(address, attempt)
    connection.then(
      (made) => {
        this.forget(address, attempt)
        if (controller.signal.aborted) made.abort(new Error('all waiters for the connection have left'))
      },
      () => this.forget(address, attempt)
    )
    return attempt
  }

  /** Aborts the attempt. The next dial to the address starts a new one. */
  private abandon(address: string, attempt: Attempt, reason: unknown): void {
    this.forget(address, attempt)
    attempt.controller.abort(reason)
  }

  private forget(address: string, attempt: Attempt): void {
    if (this.attempts.get(address) === attempt) this.attempts.delete(address)
  }
}
