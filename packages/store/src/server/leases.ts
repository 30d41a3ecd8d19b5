/**
 * The leader's clock-work of session leases, without a clock: times come in, sessions to expire go out.
 *
 * Why expiry is safe: a client counts its lease from the moment when it *sent* the keep-alive that was acknowledged, the
 * leader from the later moment when it *acknowledged* it, after a majority confirmed that it still leads. So the leader's
 * deadline lies behind the client's own, and a session is expired only after its client has stopped serving. A new leader
 * knows nothing about earlier keep-alives and gives every session a full TTL from its election.
 */
import { assert } from '@quire/protocol'
import type { SessionId } from '../state/view.js'

export interface LeasesInit {
  /** How often `tick` is called. */
  readonly tickMs: number
  /** The time of the election. */
  readonly nowMs: number
  /** The sessions of the election. Each gets its full TTL from `nowMs`. */
  readonly sessions: Iterable<LeaseHolder>
  /** A longer time between two ticks is a stall of the process; at least 2 × `tickMs`. Default 4 × `tickMs`. */
  readonly stallMs?: number
}

export interface LeaseHolder {
  readonly id: SessionId
  readonly ttlMs: number
}

export interface Leases {
  opened(session: LeaseHolder, nowMs: number): void
  /** A keep-alive is acknowledged at this moment. False, and nothing changes, when the session is unknown or expiring. */
  renewed(session: SessionId, nowMs: number): boolean
  ended(session: SessionId): void
  /** True from the moment when `tick` returned the session: it must not be renewed any more. */
  expiring(session: SessionId): boolean
  /** Sessions whose lease ran out, each returned once, in order of their ids. */
  tick(nowMs: number): SessionId[]
  /** Sessions held. */
  readonly size: number
}

interface Lease {
  readonly ttlMs: number
  deadlineMs: number
  expiring: boolean
}

export function createLeases(init: LeasesInit): Leases {
  return new LeaseTable(init)
}

class LeaseTable implements Leases {
  private readonly leases = new Map<SessionId, Lease>()
  private readonly stallMs: number
  private lastTickMs: number

  constructor({ tickMs, nowMs, sessions, stallMs = tickMs * 4 }: LeasesInit) {
    assert(tickMs > 0 && stallMs >= tickMs * 2, `ticks of ${tickMs} ms, a stall is ${stallMs} ms`)
    this.stallMs = stallMs
    this.lastTickMs = nowMs
    for (const session of sessions) this.opened(session, nowMs)
  }

  get size(): number {
    return this.leases.size
  }

  opened(session: LeaseHolder, nowMs: number): void {
    this.leases.set(session.id, { ttlMs: session.ttlMs, deadlineMs: nowMs + session.ttlMs, expiring: false })
  }

  renewed(session: SessionId, nowMs: number): boolean {
    const lease = this.leases.get(session)
    // The expiry may be in the log already: a client that were told of a renewed lease now would serve after it.
    if (lease === undefined || lease.expiring) return false
    lease.deadlineMs = Math.max(lease.deadlineMs, nowMs + lease.ttlMs)
    return true
  }

  ended(session: SessionId): void {
    this.leases.delete(session)
  }

  expiring(session: SessionId): boolean {
    return this.leases.get(session)?.expiring ?? false
  }

  tick(nowMs: number): SessionId[] {
    const last = this.lastTickMs
    this.lastTickMs = nowMs
    // This process has slept. Keep-alives that arrived meanwhile wait in its inbox: let it be drained before anyone is judged.
    if (nowMs - last > this.stallMs) return []
    const out: SessionId[] = []
    for (const [id, lease] of this.leases) {
      if (lease.expiring || nowMs < lease.deadlineMs) continue
      lease.expiring = true
      out.push(id)
    }
    return out.sort((a, b) => a - b)
  }
}
