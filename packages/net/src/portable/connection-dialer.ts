/**
 * New connections to peers, at any of their addresses. libp2p's own queue dials the addresses of a peer one after the
 * other, each for as long as it may take, and makes every further dial to that peer wait in line. So this goes to the
 * transports directly. Connections appear among the node's own all the same: libp2p's upgrader announces them.
 */
import type { Connection } from '@libp2p/interface'
import { multiaddr, type Multiaddr } from '@multiformats/multiaddr'
import type { AbortSignalLike } from '@quire/protocol'
import { onAbort } from './abort.js'
import { withDeadline } from './deadline.js'
import { firstAnswer, type FirstAnswer } from './first-answer.js'

/** The part of libp2p's transport manager that is used here. */
export interface Transports {
  dial(
    address: Multiaddr,
    options: { readonly signal: AbortSignal; readonly onProgress: (event: { readonly type: string }) => void }
  ): Promise<Connection>
}

/** libp2p's event when TCP has connected and the connection is to be secured. */
const CONNECTED = 'upgrader:encrypt-outbound-connection'
/** An address has this share of a step for itself; a quarter of a second with the default timing. */
const DELAY_SHARE = 1 / 10
/** Sockets of one dial. Each takes a file descriptor until its step is over. */
const MAX_AT_ONCE = 8

/** One connection under way, for all dials that wait for it. */
interface Attempt {
  readonly controller: AbortController
  readonly connection: Promise<Connection>
  /** Called when TCP has connected. One for each dial. */
  readonly waiting: Set<() => void>
}

export class ConnectionDialer {
  /** By address. */
  private readonly attempts = new Map<string, Attempt>()
  private closed: Error | undefined

  constructor(private readonly transports: Transports) {}

  /**
   * Connects to the first of `addresses` that answers: whole multiaddrs of one peer, dialed in this order. Each has
   * `stepMs` to accept the connection, and as much to secure it. Concurrent dials share attempts at the same address.
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

  /** Ends all attempts, and begins no other. */
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

  /** Joins the attempt at `address`, which ends when nobody waits for it any more. */
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
        if (controller.signal.aborted) made.abort(new Error('nobody waits for the connection any more'))
      },
      () => this.forget(address, attempt)
    )
    return attempt
  }

  /** The next dial to the address begins an attempt of its own. */
  private abandon(address: string, attempt: Attempt, reason: unknown): void {
    this.forget(address, attempt)
    attempt.controller.abort(reason)
  }

  private forget(address: string, attempt: Attempt): void {
    if (this.attempts.get(address) === attempt) this.attempts.delete(address)
  }
}
