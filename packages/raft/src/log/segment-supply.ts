import { isShortage, NoDescriptorsError, type Clock, type Shortage } from '@quire/protocol'
import type { Disk, DiskFile } from './disk.js'
import { NoFileError } from './room.js'
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
  /** Bytes of the next file: a batch that does not fit a segment gets a larger one. */
  private nextBytes: number
  private cancelRetry: () => void = () => {}
  /** The next file could not be made. */
  private shortage: Shortage | undefined
  /** Resolves when it could be made after all: one promise for all that wait. */
  private room: { readonly again: Promise<void>; readonly resolve: () => void } | undefined
  private isPatient = true
  private endPause: () => void = () => {}
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
        if (isShortage(error)) this.report(error)
        // Who was told that there is no room waits to be told that there is, whatever went wrong in between.
        if (this.shortage !== undefined) this.retryLater()
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
  private report(shortage: Shortage | undefined): void {
    if (this.closed) return
    const isNew = this.shortage?.name !== shortage?.name
    this.shortage = shortage
    if (isNew) this.init.onSpace?.(shortage)
    if (shortage !== undefined) return
    this.room?.resolve()
    this.room = undefined
  }

  private roomAgain(): Promise<void> {
    if (this.room === undefined) {
      let resolve!: () => void
      this.room = { again: new Promise<void>((settle) => (resolve = settle)), resolve: () => resolve() }
    }
    return this.room.again
  }

  /**
   * Makes the log's first segment, which is durable, name included, when this resolves. For want of space or of a
   * descriptor it fails at once: there is no log yet that could wait.
   */
  async makeFirst(header: SegmentHeader, first: Uint8Array): Promise<void> {
    const start = startOf(header, first)
    const file = await this.disk.create(SPARE, Math.max(start.length, this.segmentBytes))
    const taken = await this.begin(file, header, start)
    await taken.file.close()
    await this.disk.flushDirectory()
  }

  /**
   * A segment that begins with `first`, durable under a name that is durable after `flushName`. Rejects with
   * NoFileError when there is no room or no descriptor for its file: nothing was written then.
   */
  async take(header: SegmentHeader, first: Uint8Array): Promise<TakenSegment> {
    const start = startOf(header, first)
    return this.begin(await this.takeFile(start.length), header, start)
  }

  /**
   * Makes the name of the segment that was taken durable. Its entries cannot be given back any more, so for want of a
   * descriptor this waits until it is told to stop. Repeating is safe, unlike repeating a failed flush: without a
   * descriptor the flush cannot have begun. `closing` is the file written before: it gives its descriptor back.
   */
  async flushName(closing: Promise<void>): Promise<void> {
    const { clock } = this.init
    for (let isFirst = true; ; isFirst = false) {
      try {
        await this.disk.flushDirectory()
        return this.report(undefined)
      } catch (error) {
        if (!(error instanceof NoDescriptorsError)) throw error
        if (isFirst) {
          await closing
          continue
        }
        if (clock === undefined || !this.isPatient) throw error
        this.report(error)
        await this.pause(clock)
      }
    }
  }

  /** From now on nothing waits for a descriptor. */
  stopWaiting(): void {
    this.isPatient = false
    this.endPause()
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

  private async begin(file: DiskFile, header: SegmentHeader, start: Uint8Array): Promise<TakenSegment> {
    const { number, firstIndex } = header
    const name = segmentName(number, firstIndex)
    try {
      await file.write(0, start)
      await this.disk.rename(SPARE, name)
    } catch (error) {
      await file.close()
      throw error
    }
    return { segment: { name, number, firstIndex }, file }
  }

  /** The spare, if it was made and has room for `bytes`; otherwise a new file. */
  private async takeFile(bytes: number): Promise<DiskFile> {
    // Filling a disk that has no room with zeros again, for each that asks, would only keep it busy: the clock does
    // that.
    const { shortage } = this
    if (shortage !== undefined && this.init.clock !== undefined) throw new NoFileError(this.roomAgain(), shortage)
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
      if (isShortage(error)) throw new NoFileError(this.roomAgain(), error)
      throw error
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

function startOf(header: SegmentHeader, first: Uint8Array): Uint8Array {
  const start = new Uint8Array(SEGMENT_HEADER_BYTES + first.length)
  start.set(encodeSegmentHeader(header))
  start.set(first, SEGMENT_HEADER_BYTES)
  return start
}
