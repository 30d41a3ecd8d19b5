import { assert } from '@quire/protocol'
import type { SessionId } from '../state/view.js'

export interface LeasesInit {
  /** The interval at which the caller calls `tick`. */
  readonly tickMs: number
  /** The time of the election. */
  readonly nowMs: number
  /** The sessions at the election. Each gets its full TTL from `nowMs`. */
  readonly sessions: Iterable<LeaseHolder>
  /** A longer time between two ticks means that the process stalled. At least 2 × `tickMs`; default 4 × `tickMs`. */
  readonly stallMs?: number
}

export interface LeaseHolder {
  readonly id: SessionId
  readonly ttlMs: number
}

/**
 * Tells when the leases of sessions run out, on the leader, during one term. It has no clock: the caller gives the
 * times.
 *
 * Expiry is safe because the client's deadline lies before the leader's. A client counts its lease from the moment when
 * it *sent* a keep-alive that was acknowledged. The leader counts from the later moment when it *acknowledges* the
 * keep-alive, after a majority has confirmed that it still leads. So a session expires only after its client has
 * stopped serving. A new leader does not know of earlier keep-alives, so it gives every session a full TTL from its
 * election.
 */
export interface Leases {
  opened(session: LeaseHolder, nowMs: number): void
  /**
   * The leader acknowledges a keep-alive now. Returns false, and changes nothing, if the session is unknown or
   * expiring.
   */
  renewed(session: SessionId, nowMs: number): boolean
  ended(session: SessionId): void
  /** True once `tick` has returned the session. From then on it must not be renewed. */
  expiring(session: SessionId): boolean
  /** Returns the sessions whose lease has run out, each once, in order of their ids. */
  tick(nowMs: number): SessionId[]
  /** The number of sessions. */
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

/** Holds the deadline of each session's lease. */
class LeaseTable implements Leases {
  private readonly leases = new Map<SessionId, Lease>()
  private readonly stallMs: number
  private lastTickMs: number

  constructor({ tickMs, nowMs, sessions, stallMs = tickMs * 4 }: LeasesInit) {
    assert(
      tickMs > 0 && stallMs >= tickMs * 2,
      `stallMs ${stallMs} must be at least twice tickMs ${tickMs}, which must be above 0`
    )
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
    // The expiry may be in the log. A client that learned of a renewed lease now would serve after its expiry.
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
    // The process has stalled. Keep-alives that arrived meanwhile wait in its inbox, so no session expires before these
    // are read.
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
