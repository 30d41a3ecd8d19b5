/** Waits behind a long queue. */
import type { LeaderMessage } from '@quire/protocol'
import type { Start } from '../waiting.js'

interface SlowWait {
  /** The value of `count` after everything is served that was under way when the wait began. */
  readonly last: number
  moved: () => void
}

/**
 * Counts the service of earlier requests as progress of a wait.
 *
 * On a thin line, a page may arrive only after hundreds of pages that were requested before it. While those arrive, the
 * wait makes progress. It does so at most once for each earlier request, so it ends even if later requests are served
 * forever.
 */
export class SlowWaits {
  private readonly waits = new Set<SlowWait>()
  /** Pages that were granted or acknowledged. */
  private count = 0

  /** `ahead`: how many pages are under way. Call `watch` when half of the wait's time is over. */
  begin<T>(start: Start<T>, ahead: number): { readonly start: Start<T>; watch(): void } {
    const wait: SlowWait = { last: this.count + ahead, moved: () => {} }
    const end = () => this.waits.delete(wait)
    return {
      start: (resolve, reject, moved) => {
        wait.moved = moved
        const withdraw = start(
          (value) => {
            end()
            resolve(value)
          },
          (error) => {
            end()
            reject(error)
          },
          moved
        )
        return () => {
          end()
          withdraw()
        }
      },
      watch: () => {
        if (this.count < wait.last) this.waits.add(wait)
      }
    }
  }

  /** A message has arrived. */
  served(message: LeaderMessage): void {
    if (message.type !== 'grant' && message.type !== 'writebackAck') return
    this.count += message.pages.length
    for (const wait of this.waits) {
      wait.moved()
      if (this.count >= wait.last) this.waits.delete(wait)
    }
  }
}
