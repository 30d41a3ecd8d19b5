/** Connections of remotes that the gate refuses. A few at a time live long enough to receive the reason. */
import type { MultiaddrConnection } from '@libp2p/interface'
import type { EventLoop } from './event-loop.js'

/** Limit of strangers at a time. Further ones are cut off without a reason once Noise has proved their PeerId. */
export const MAX_STRANGERS = 16
/**
 * Suffices for a hello and its answer over a slow line. After it the connection is cut, even in the middle of a frame.
 */
export const STRANGER_LIFE_MS = 5_000

/** Limits the connections of strangers. */
export class Strangers {
  private count = 0
  /** Stays false until a protocol is handled that answers strangers. Until then every stranger is cut off. */
  private isOpen = false

  constructor(private readonly eventLoop: EventLoop) {}

  open(): void {
    this.isOpen = true
  }

  /** Returns true if the stranger may connect. The connection then counts against the limit until it closes. */
  admit(connection: MultiaddrConnection): boolean {
    if (!this.isOpen || this.count >= MAX_STRANGERS || connection.status !== 'open') return false
    this.count++
    let isOver = false
    const leave = (): void => {
      if (isOver) return
      isOver = true
      this.count--
      cancelEnd()
    }
    const cancelEnd = this.eventLoop.scheduleInBackground(STRANGER_LIFE_MS, () => {
      leave()
      connection.abort(new Error(`a stranger's time of ${STRANGER_LIFE_MS} ms is over`))
    })
    connection.addEventListener('close', leave)
    return true
  }
}
