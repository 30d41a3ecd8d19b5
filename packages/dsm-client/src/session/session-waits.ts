/** Timeouts of a session's calls, with the reasons for them. */
import { shortId } from '@quire/net'
import { UnavailableError, type Clock, type LeaderMessage } from '@quire/protocol'
import { waitFor, type Start } from '../waiting.js'
import type { ClusterView } from './cluster-view.js'
import type { Connection } from './connection.js'
import type { KeepAlive } from './keep-alive.js'
import { SlowWaits } from './slow-waits.js'

export interface SessionWaitsInit {
  /** The client's PeerId. */
  readonly self: string
  readonly clock: Clock
  readonly cluster: ClusterView
  readonly timeoutMs: number
  readonly keepAlive: KeepAlive
  readonly connection: () => Connection | undefined
  /** How many faults and writebacks are under way. */
  readonly underWay: () => number
}

/** Ends every wait of a session within its timeout. */
export class SessionWaits {
  private readonly slowWaits = new SlowWaits()

  constructor(private readonly init: SessionWaitsInit) {}

  /**
   * Waits for `start`. At the timeout, `onBusy` makes the error if a majority was reachable during the wait, because
   * then another client is in the way. Otherwise the error says what is known of the leader, or why the peers refuse
   * this client.
   */
  wait<T>(start: Start<T>, signal: AbortSignal | undefined, onBusy?: () => Error): Promise<T> {
    const { self, clock, cluster, timeoutMs, keepAlive, connection: current, underWay } = this.init
    const slow = this.slowWaits.begin(start, underWay())
    const onHalfway = () => {
      slow.watch()
      // Only a word of the majority from within the wait can tell a busy client from a lost cluster.
      if (onBusy !== undefined) keepAlive.ask()
    }
    const onTimeout = (since: number) => {
      const connection = current()
      if (onBusy !== undefined && connection !== undefined && keepAlive.vouchedUntil > since) return onBusy()
      const refusal = connection === undefined ? cluster.peerOutcomes.refusalOf(self) : undefined
      if (refusal !== undefined) return refusal
      const problem =
        connection === undefined ? cluster.whyNoLeader() : `the leader ${shortId(connection.remote)} has not answered`
      return new UnavailableError(`${problem} (waited ${timeoutMs} ms)`)
    }
    return waitFor(slow.start, { clock, timeoutMs, signal, onHalfway, onTimeout })
  }

  /** A message of the leader has arrived and taken effect. */
  served(message: LeaderMessage): void {
    this.slowWaits.served(message)
  }
}
