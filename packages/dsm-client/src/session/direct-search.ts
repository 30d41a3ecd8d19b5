/** The way back from a relay to a direct connection. */
import type { Clock, Random } from '@quire/protocol'
import type { Welcome } from './handshake.js'

const FIRST_PAUSE_MS = 2_000
/** A path may come back after hours. An attempt costs the client a few sockets for a few seconds. */
const MAX_PAUSE_MS = 60_000

export interface DirectSearchInit {
  readonly clock: Clock
  readonly random: Random
  /** Says hello to the leader at its own addresses. */
  readonly greet: (signal: AbortSignal) => Promise<Welcome>
  /** The leader has answered. Called once at most. */
  readonly found: (welcome: Welcome) => void
}

/** Tries a direct path to the leader, again and again, while a relayed connection is open. */
export class DirectSearch {
  private readonly controller = new AbortController()
  private pauseMs = FIRST_PAUSE_MS
  private cancel = (): void => {}

  constructor(private readonly init: DirectSearchInit) {
    this.wait()
  }

  stop(): void {
    this.cancel()
    this.controller.abort(new Error('the relayed connection has ended'))
  }

  private wait(): void {
    const { clock, random } = this.init
    // A random part of the pause, so that the clients of a relay do not all try at once.
    const pauseMs = this.pauseMs * (0.5 + random.next() / 2)
    this.pauseMs = Math.min(MAX_PAUSE_MS, this.pauseMs * 2)
    this.cancel = clock.schedule(pauseMs, () => void this.attempt())
  }

  private async attempt(): Promise<void> {
    const { signal } = this.controller
    try {
      const welcome = await this.init.greet(signal)
      if (signal.aborted) welcome.abort(signal.reason as Error)
      else this.init.found(welcome)
    } catch {
      // The relayed connection is still there, so no failure matters.
      if (!signal.aborted) this.wait()
    }
  }
}
