/** Time limits of the steps of a handshake. */
import { timingOf, type Clock } from '@quire/protocol'
import type { ClusterView } from './cluster-view.js'

export interface StepTimerInit {
  readonly clock: Clock
  readonly cluster: ClusterView
  /** For each step, at most. The cluster's timing may allow less. */
  readonly maxStepMs: number
  readonly isRelayed: boolean
}

/**
 * Limits each step of a handshake.
 *
 * No limit covers the whole handshake. So a peer that is far away, or behind a thin line, gets through, and the client
 * soon leaves a peer that is stuck.
 */
export class StepTimer {
  private cancel = () => {}

  constructor(
    private readonly init: StepTimerInit,
    private readonly stuck: (reason: string) => void
  ) {}

  get stepMs(): number {
    const { cluster, maxStepMs, isRelayed } = this.init
    const { stepMs, relayedStepMs } = timingOf(cluster.roundTripMs)
    return Math.min(isRelayed ? relayedStepMs : stepMs, maxStepMs)
  }

  next(): void {
    this.cancel()
    const { stepMs } = this
    this.cancel = this.init.clock.schedule(stepMs, () => this.stuck(`did not answer within ${stepMs} ms`))
  }

  end(): void {
    this.cancel()
  }
}
