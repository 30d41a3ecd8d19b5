import type { Clock } from '@quire/protocol'
import type { Logger } from 'pino'

export interface DiskSpace {
  /** Free bytes that this process may use. */
  readonly freeBytes: number
  readonly totalBytes: number
}

/** With `low`, little space is left. */
export type DiskStatus = DiskSpace & { readonly low: boolean }

export interface DiskWatchInit {
  /** The file system under the storage; undefined if unknown. */
  readonly space: () => DiskSpace | undefined
  readonly clock: Pick<Clock, 'schedule'>
  /** Little space is left, or there is enough again. */
  readonly onChange: (isLow: boolean) => void
  readonly logger: Logger | undefined
}

const INTERVAL_MS = 10_000
const MIB = 2 ** 20
/** A peer needs less than half of this to go on: for the next segment of its log, and for a checkpoint. */
const LEAST_BYTES = 256 * MIB
const MOST_BYTES = 4_096 * MIB
/** There must be this much more than little before it counts as enough, so that the two do not alternate. */
const MARGIN = 1.25

/** Little space: a tenth of the file system, but no more than an operator needs to act in time. */
function lowBytes(totalBytes: number): number {
  return Math.min(MOST_BYTES, Math.max(LEAST_BYTES, totalBytes / 10))
}

/** Warns before the disk is full. */
export class DiskWatch {
  private low = false
  private cancel = (): void => {}

  constructor(private readonly init: DiskWatchInit) {}

  status(): DiskStatus | undefined {
    const space = this.init.space()
    return space && { ...space, low: this.low }
  }

  start(): void {
    this.look()
  }

  stop(): void {
    this.cancel()
  }

  private look(): void {
    this.cancel = this.init.clock.schedule(INTERVAL_MS, () => this.look())
    const space = this.init.space()
    if (space === undefined) return
    const { freeBytes, totalBytes } = space
    const isLow = freeBytes < lowBytes(totalBytes) * (this.low ? MARGIN : 1)
    if (isLow === this.low) return
    this.low = isLow
    const { logger, onChange } = this.init
    if (isLow) logger?.warn({ freeBytes, totalBytes }, 'the disk is almost full: the log keeps less for other peers')
    else logger?.info({ freeBytes, totalBytes }, 'the disk has enough space again')
    onChange(isLow)
  }
}
