import { isShortage, NoDescriptorsError, type Clock, type Shortage } from '@quire/protocol'
import type { Disk, DiskFile } from './disk.js'
import { encodeSegmentHeader, segmentName, SEGMENT_HEADER_BYTES, type Segment, type SegmentHeader } from './segment.js'

const SPARE = 'spare.tmp'
const RETRY_MS = 1_000

export interface SegmentSupplyInit {
  readonly disk: Disk
  readonly segmentBytes: number
  readonly clock?: Pick<Clock, 'schedule'> | undefined
  /** The next file finds no space or no descriptor, or does so no more. */
  readonly onSpace?: ((fault: Shortage | undefined) => void) | undefined
}

/** A segment, and its file to write on. */
export interface TakenSegment {
  readonly segment: Segment
  readonly file: DiskFile
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
  private cancelRetry: () => void = () => {}
  private shortage: Shortage | undefined
  private isPatient = false
  private endPause: () => void = () => {}
  private closed = false

  constructor(private readonly init: SegmentSupplyInit) {
    this.disk = init.disk
    this.segmentBytes = init.segmentBytes
  }

  /** Removes what a crash left half made. */
  async clean(): Promise<void> {
    const names = await this.disk.list()
    if (names.includes(SPARE)) await this.disk.remove(SPARE)
  }

  /** Starts to make the next file, unless that was done. */
  prepare(): void {
    if (this.spare !== undefined) return
    const spare = this.disk.create(SPARE, this.segmentBytes)
    this.spare = spare
    spare.then(
      () => this.report(undefined),
      (error: unknown) => {
        // Whoever takes the file deals with the failure. Until then there is time to make room.
        if (this.spare !== spare || this.closed) return
        if (isShortage(error)) this.report(error)
        // Who was told that there is no room waits to be told that there is, whatever went wrong in between.
        if (this.shortage !== undefined) this.retryLater()
      }
    )
  }

  private retryLater(): void {
    const { clock } = this.init
    if (clock === undefined) return
    this.cancelRetry = clock.schedule(RETRY_MS, () => {
      this.spare = undefined
      this.prepare()
    })
  }

  /** The same condition is reported once, however often it is tried again. */
  private report(fault: Shortage | undefined): void {
    if (this.closed || this.shortage?.name === fault?.name) return
    this.shortage = fault
    this.init.onSpace?.(fault)
  }

  /** From now on what needs a descriptor waits for one, and the wait is reported. Before, while the log is opened, it fails. */
  beginPatience(): void {
    this.isPatient = true
  }

  /** From now on nothing waits for a descriptor: it fails with NoDescriptorsError. */
  endPatience(): void {
    this.isPatient = false
    this.endPause()
  }

  /** A segment that begins with `first`, which is durable, name included, when this resolves. */
  async take(header: SegmentHeader, first: Uint8Array): Promise<TakenSegment> {
    const start = new Uint8Array(SEGMENT_HEADER_BYTES + first.length)
    start.set(encodeSegmentHeader(header))
    start.set(first, SEGMENT_HEADER_BYTES)
    const file = await this.takeFile(start.length)
    const { number, firstIndex } = header
    const name = segmentName(number, firstIndex)
    try {
      await file.write(0, start)
      await this.disk.rename(SPARE, name)
      await this.whenPossible(() => this.disk.flushDirectory())
      this.report(undefined)
    } catch (error) {
      await file.close()
      throw error
    }
    return { segment: { name, number, firstIndex }, file }
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

  /** The spare, if it was made and has room for `bytes`; otherwise a new file. */
  private async takeFile(bytes: number): Promise<DiskFile> {
    this.prepare()
    const spare = this.spare!
    this.cancelRetry()
    this.spare = undefined
    // It may have failed long ago for want of space or of a descriptor, and nobody relied on it.
    let file = await spare.catch(() => undefined)
    if (file !== undefined && file.bytes < bytes) {
      await file.close()
      await this.disk.remove(SPARE)
      file = undefined
    }
    return file ?? this.whenPossible(() => this.disk.create(SPARE, Math.max(bytes, this.segmentBytes)))
  }

  /**
   * Waits for a descriptor, while that is wanted. Repeating is safe, unlike repeating a failed write: without one, `act` cannot have begun. For want of space it
   * is not repeated.
   */
  private async whenPossible<T>(act: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await act()
      } catch (error) {
        const { clock } = this.init
        if (!(error instanceof NoDescriptorsError) || clock === undefined || !this.isPatient) throw error
        this.report(error)
        await this.pause(clock)
      }
    }
  }

  private pause(clock: Pick<Clock, 'schedule'>): Promise<void> {
    return new Promise((resolve) => {
      const cancel = clock.schedule(RETRY_MS, resolve)
      this.endPause = () => {
        cancel()
        resolve()
      }
    })
  }
}
