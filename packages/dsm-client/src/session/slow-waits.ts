/**
 * Waits that take long because others were first. On a thin line a page may come only after hundreds that were asked
 * for before it; while those arrive, its wait gets on. It gets on at most as often as something was before it, so it
 * ends also when what came later is served for ever.
 */
import type { LeaderMessage } from '@quire/protocol'
import type { Start } from '../waiting.js'

interface SlowWait {
  /** The number that `count` has when everything is served that was under way when the wait began. */
  readonly last: number
  moved: () => void
}

export class SlowWaits {
  private readonly waits = new Set<SlowWait>()
  /** Grants and acknowledgements that have come. */
  private count = 0

  /** `ahead`: what is under way now. `watch` is called when half of the wait's time is over. */
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

  /** A message has come in. */
  served({ type }: LeaderMessage): void {
    if (type !== 'grant' && type !== 'writebackAck') return
    this.count++
    for (const wait of this.waits) {
      wait.moved()
      if (this.count >= wait.last) this.waits.delete(wait)
    }
  }
}
