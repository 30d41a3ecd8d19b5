import type { Clock } from '@quire/protocol'

/** Pauses that may end early, all at once. */
export class Pauses {
  private readonly ends = new Set<() => void>()

  constructor(private readonly clock: Pick<Clock, 'schedule'>) {}

  wait(durationMs: number): Promise<void> {
    return new Promise((resolve) => {
      const end = (): void => {
        this.ends.delete(end)
        cancel()
        resolve()
      }
      const cancel = this.clock.schedule(durationMs, end)
      this.ends.add(end)
    })
  }

  /** Ends the pauses that run. */
  end(): void {
    for (const end of [...this.ends]) end()
  }
}
