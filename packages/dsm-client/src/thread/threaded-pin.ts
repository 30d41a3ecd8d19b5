/** A pin of a client in a thread of its own: see `PinnedRange` in types.ts. */
import type { PinnedRange } from '../types.js'
import type { ThreadContext } from './thread-context.js'
import type { RemotePin } from './messages.js'

/** The bytes are shared memory. The client's thread keeps the pages until the release. */
export class ThreadedPin implements PinnedRange {
  readonly bytes: Uint8Array
  private readonly object: number
  private readonly losing = new AbortController()
  private isHeld = true

  constructor(
    private readonly context: ThreadContext,
    { object, bytes }: RemotePin
  ) {
    this.object = object
    this.bytes = bytes
    context.pins.set(object, this)
  }

  get wanted(): boolean {
    return this.isHeld && this.context.link.callNow(this.object, 'wanted')
  }

  get lost(): AbortSignal {
    return this.losing.signal
  }

  sessionLost(error: unknown): void {
    this.losing.abort(error)
  }

  release(): void {
    if (!this.isHeld) return
    this.isHeld = false
    const { link, pins, hasHistory } = this.context
    pins.delete(this.object)
    if (link.hasEnded) return
    // With a history, the release may refuse what the program has done.
    if (hasHistory) link.callNow(this.object, 'release')
    else link.tell(this.object, 'release')
  }

  [Symbol.dispose](): void {
    this.release()
  }
}
