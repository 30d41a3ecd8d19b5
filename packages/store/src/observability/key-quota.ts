import type { Clock } from '@quire/protocol'

/** Log lines about one key in {@link WINDOW_MS}. */
const MAX_LINES = 4
const WINDOW_MS = 600_000
/** A forgotten key has a whole quota again. */
export const MAX_KEYS = 1024

interface Window {
  readonly sinceMs: number
  /** Events since then, logged or not. */
  events: number
}

/** Limits the log lines about each key, such as a remote, because the remote decides how often there is news of it. */
export class KeyQuota {
  private readonly windows = new Map<string, Window>()

  constructor(private readonly clock: Pick<Clock, 'now'>) {}

  /** Whether the next event of the key is one too many. */
  isUsedUp(key: string): boolean {
    return (this.present(key)?.events ?? 0) >= MAX_LINES
  }

  /** Counts an event. If it begins a new window, returns how many events were too many in the last one. */
  count(key: string): number {
    const present = this.present(key)
    if (present !== undefined) {
      present.events++
      return 0
    }
    const last = this.windows.get(key)
    setBounded(this.windows, key, { sinceMs: this.clock.now(), events: 1 })
    return Math.max(0, (last?.events ?? 0) - MAX_LINES)
  }

  private present(key: string): Window | undefined {
    const window = this.windows.get(key)
    return window !== undefined && this.clock.now() - window.sinceMs < WINDOW_MS ? window : undefined
  }
}

/** Sets an entry. Beyond {@link MAX_KEYS} entries, deletes the oldest one. */
export function setBounded<V>(map: Map<string, V>, key: string, value: V): void {
  if (!map.has(key) && map.size >= MAX_KEYS) {
    const [oldest] = map.keys()
    map.delete(oldest!)
  }
  map.set(key, value)
}
