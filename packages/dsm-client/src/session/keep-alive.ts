/** Signs of life between a session and its leader. */
import type { Clock } from '@quire/protocol'
import { Lease } from '../core/lease.js'
import { Liveness } from '../core/liveness.js'
import { StalledError, type Connection } from './connection.js'

export interface KeepAliveInit {
  readonly clock: Clock
  readonly connection: () => Connection | undefined
  /** The lease is valid until then, in milliseconds. */
  readonly onExtended: (until: number) => void
}

/**
 * Keeps the lease of a session valid while its leader is alive.
 *
 * It sends keep-alives and pings when they are due, and ends the connection to a silent leader.
 */
export class KeepAlive {
  private readonly lease = new Lease()
  private readonly liveness = new Liveness()

  constructor(private readonly init: KeepAliveInit) {}

  /** The latest moment at which, by a majority's word, the leader led and the session was alive. In milliseconds. */
  get vouchedUntil(): number {
    return this.lease.vouchedUntil
  }

  isLeaseValid(): boolean {
    return this.lease.isValid(this.now)
  }

  /** A leader has registered the session, by a `register` that left at `registeredAt`. */
  begin(registeredAt: number, ttlMs: number): void {
    this.lease.begin(registeredAt, ttlMs)
    this.init.onExtended(this.lease.end)
    this.liveness.begin(this.now, ttlMs)
  }

  /** A frame of the leader has arrived. */
  heard(): void {
    this.liveness.heard(this.now)
  }

  /** The leader has answered the keep-alive with this nonce. */
  answered(nonce: number): void {
    this.lease.answered(nonce)
    this.init.onExtended(this.lease.end)
  }

  /**
   * Sends what is due, and ends the connection to a silent leader. `isLate`: this process was stopped since the last
   * call, so the leader's word may wait in its inbox. The next call judges the silence.
   */
  check(now: number, isLate: boolean): void {
    if (!isLate && this.liveness.isSilent(now)) {
      this.init.connection()?.abort(new StalledError('is silent: it is dead, or has no majority'))
      return
    }
    if (this.lease.isDue(now)) this.ask()
    if (this.liveness.isDue(now)) this.ping()
  }

  /** Sends a keep-alive now, unless enough are unanswered. */
  ask(): void {
    const { now } = this
    const connection = this.init.connection()
    if (connection === undefined || !this.lease.mayAsk(now)) return
    connection.send('control', { type: 'keepAlive', nonce: this.lease.send(now) })
    this.liveness.asked(now)
  }

  private ping(): void {
    this.init.connection()?.send('control', { type: 'ping' })
    this.liveness.asked(this.now)
  }

  private get now(): number {
    return this.init.clock.now()
  }
}
