/** Durations of faults. */
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks'
import type { FaultKind } from '../core/index.js'
import type { FaultStats } from '../types.js'

/** Measures how long faults take. */
export class FaultTimer {
  private readonly running = new Map<number, { readonly kind: FaultKind; readonly since: number }>()
  private readonly histograms: Readonly<Record<FaultKind, RecordableHistogram>> = {
    read: createHistogram(),
    write: createHistogram(),
    upgrade: createHistogram()
  }

  /** `now`: in milliseconds. */
  begin(req: number, kind: FaultKind, now: number): void {
    this.running.set(req, { kind, since: now })
  }

  end(req: number, now: number): void {
    const fault = this.running.get(req)
    if (fault === undefined) return
    this.running.delete(req)
    this.histograms[fault.kind].record(Math.max(1, Math.round((now - fault.since) * 1000)))
  }

  stats(kind: FaultKind): FaultStats {
    const histogram = this.histograms[kind]
    if (histogram.count === 0) return { count: 0, p50Us: 0, p99Us: 0 }
    return { count: histogram.count, p50Us: histogram.percentile(50), p99Us: histogram.percentile(99) }
  }
}
