import type { Clock, NoSpaceError } from '@quire/protocol'
import type { Disk, DiskFile } from './disk.js'
import { isLackOfRoom, NoFileError } from './room.js'
import { encodeSegmentHeader, segmentName, SEGMENT_HEADER_BYTES, type Segment, type SegmentHeader } from './segment.js'

const SPARE = 'spare.tmp'
const RETRY_MS = 1_000

export interface SegmentSupplyInit {
  readonly disk: Disk
  readonly segmentBytes: number
  readonly clock?: Pick<Clock, 'schedule'> | undefined
  /** The next file finds no space, or does so no more. */
  readonly onSpace?: ((fault: NoSpaceError | undefined) => void) | undefined
}

/**
 * Makes segments. A file is filled with zeros under another name, ahead of its need, and becomes a segment by its rename: a
 * file that has a segment's name has a segment's header and its first batch, whatever a crash interrupts. So a new segment,
 * and with it a reset of the log, is there whole or not at all.
 */
export class SegmentSupply {
  private readonly disk: Disk
  private readonly segmentBytes: number
  private spare: Promise<DiskFile> | undefined
  /** Bytes of the next file: a batch that does not fit a segment gets a larger one. */
  private nextBytes: number
  private cancelRetry: () => void = () => {}
  /** The next file could not be made. */
  private fault: NoSpaceError | undefined
  /** Called when it could be made after all. */
  private waiting: (() => void)[] = []
  private closed = false

  constructor(private readonly init: SegmentSupplyInit) {
    this.disk = init.disk
    this.segmentBytes = init.segmentBytes
    this.nextBytes = init.segmentBytes
  }

  /** Removes what a crash left half made. */
  async clean(): Promise<void> {
    const names = await this.disk.list()
    if (names.includes(SPARE)) await this.disk.remove(SPARE)
  }

  /** Starts to make the next file, unless that was done. */
  prepare(): void {
    if (this.spare !== undefined) return
    const spare = this.disk.create(SPARE, this.nextBytes)
    this.spare = spare
    spare.then(
      () => this.report(undefined),
      (error: unknown) => {
        // Whoever takes the file deals with the failure. Until then there is time to make room.
        if (this.spare !== spare || this.closed) return
        if (isLackOfRoom(error)) this.report(error)
        // Who was told that there is no room waits to be told that there is, whatever went wrong in between.
        if (this.fault !== undefined) this.retryLater()
      }
    )
  }

  private retryLater(): void {
    const { clock } = this.init
    if (clock === undefined) return
    this.cancelRetry()
    this.cancelRetry = clock.schedule(RETRY_MS, () => {
      this.spare = undefined
      this.prepare()
    })
  }

  /** The same condition is reported once, however often it is tried again. */
  private report(fault: NoSpaceError | undefined): void {
    if (this.closed) return
    const isNew = (this.fault === undefined) !== (fault === undefined)
    this.fault = fault
    if (isNew) this.init.onSpace?.(fault)
    if (fault === undefined) for (const resolve of this.waiting.splice(0)) resolve()
  }

  private roomAgain(): Promise<void> {
    return new Promise((resolve) => this.waiting.push(resolve))
  }

  /**
   * A segment that begins with `first`, which is durable, name included, when this resolves. Rejects with NoFileError
   * when there is no room for it: nothing was written then.
   */
  async take(header: SegmentHeader, first: Uint8Array): Promise<Segment> {
    const start = new Uint8Array(SEGMENT_HEADER_BYTES + first.length)
    start.set(encodeSegmentHeader(header))
    start.set(first, SEGMENT_HEADER_BYTES)
    const file = await this.takeFile(start.length)
    const { number, firstIndex } = header
    const name = segmentName(number, firstIndex)
    try {
      await file.write(0, start)
      await this.disk.rename(SPARE, name)
      await this.disk.flushDirectory()
    } catch (error) {
      await file.close()
      throw error
    }
    return { name, number, firstIndex, file }
  }

  async close(): Promise<void> {
    const { spare } = this
    this.closed = true
    this.cancelRetry()
    this.spare = undefined
    try {
      await (await spare)?.close()
    } catch {
      // It was never made; nothing depends on it.
    }
  }

  private async takeFile(bytes: number): Promise<DiskFile> {
    // Filling a disk that has no room with zeros again, for each that asks, would only keep it busy: the clock does
    // that.
    if (this.fault !== undefined && this.init.clock !== undefined) throw new NoFileError(this.roomAgain(), this.fault)
    this.prepare()
    // It may have failed long ago, and nobody relied on it.
    let file = await this.spare!.catch(() => this.makeSpare(Math.max(bytes, this.segmentBytes)))
    if (file.bytes < bytes) {
      await file.close()
      await this.disk.remove(SPARE)
      file = await this.makeSpare(bytes)
    }
    this.cancelRetry()
    this.spare = undefined
    this.nextBytes = this.segmentBytes
    return file
  }

  private async makeSpare(bytes: number): Promise<DiskFile> {
    this.nextBytes = bytes
    this.spare = undefined
    this.prepare()
    try {
      return await this.spare!
    } catch (error) {
      if (isLackOfRoom(error)) throw new NoFileError(this.roomAgain(), error)
      throw error
    }
  }
}
