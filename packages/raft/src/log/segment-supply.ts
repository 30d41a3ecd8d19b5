import { isShortage, NoDescriptorsError, type Clock, type Shortage } from '@quire/protocol'
import type { Disk, DiskFile } from './disk.js'
import { NoFileError } from './no-file-error.js'
import { encodeSegmentHeader, segmentOf, type Segment, type SegmentHeader } from './segment.js'

const SPARE = 'spare.tmp'
const RETRY_MS = 1_000

export interface SegmentSupplyInit {
  readonly disk: Disk
  readonly segmentBytes: number
  readonly clock?: Pick<Clock, 'schedule'> | undefined
  /** Called when the next file finds no space or no descriptor, and when it could be made after all. */
  readonly onSpace?: ((fault: Shortage | undefined) => void) | undefined
}

/** All of a header but the size of the file, which is known when the file is there. */
type HeaderInit = Omit<SegmentHeader, 'bytes'>

/** A new segment, with its file open for writing. */
export interface TakenSegment {
  readonly segment: Segment
  readonly file: DiskFile
}

/**
 * Makes segment files.
 *
 * A file is filled with zeros under a temporary name ahead of need, and becomes a segment by a rename. So a file with a
 * segment's name holds a segment header and its first batch, whenever a crash comes: a new segment, and with it a reset
 * of the log, exists as a whole or not at all.
 */
export class SegmentSupply {
  private readonly disk: Disk
  private readonly segmentBytes: number
  private spare: Promise<DiskFile> | undefined
  /** Size of the next file. A batch that does not fit a segment of the usual size gets a larger one. */
  private nextBytes: number
  private cancelRetry: () => void = () => {}
  /** Why the next file could not be made. */
  private shortage: Shortage | undefined
  /** Resolves when the file could be made after all. All waiters share one promise. */
  private room: { readonly again: Promise<void>; readonly resolve: () => void } | undefined
  private mayWait = true
  private endPause: () => void = () => {}
  private closed = false

  constructor(private readonly init: SegmentSupplyInit) {
    this.disk = init.disk
    this.segmentBytes = init.segmentBytes
    this.nextBytes = init.segmentBytes
  }

  /** Removes a file that a crash left half-made. */
  async clean(): Promise<void> {
    const names = await this.disk.list()
    if (names.includes(SPARE)) await this.disk.remove(SPARE)
  }

  /** Starts to make the next file, unless that has begun. */
  prepare(): void {
    if (this.spare !== undefined) return
    const spare = this.disk.create(SPARE, this.nextBytes)
    this.spare = spare
    spare.then(
      () => this.report(undefined),
      (error: unknown) => {
        // The append that takes the file handles the failure. Until then something may make room.
        if (this.spare !== spare || this.closed) return
        if (isShortage(error)) this.report(error)
        // Callers that were told of a shortage wait to hear of its end, whatever has gone wrong since.
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

  /** Reports a condition once, however often the file is tried again. */
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
   * Makes the log's first segment. It is durable, name included, when this resolves. A lack of space or of a descriptor
   * fails at once, because no log exists yet that could wait.
   */
  async makeFirst(header: HeaderInit, first: Uint8Array): Promise<void> {
    const file = await this.disk.create(SPARE, Math.max(neededBytes(header, first), this.segmentBytes))
    const taken = await this.begin(file, header, first)
    await taken.file.close()
    await this.disk.flushDirectory()
  }

  /**
   * Makes a segment that begins with `first`. Its content is durable, its name only after `flushName`. Rejects with
   * NoFileError if there is no room or no descriptor for the file; nothing was written then.
   */
  async take(header: HeaderInit, first: Uint8Array): Promise<TakenSegment> {
    return this.begin(await this.takeFile(neededBytes(header, first)), header, first)
  }

  /**
   * Makes the name of the new segment durable. The segment's entries can no longer be given back, so this waits for a
   * descriptor, until `stopWaiting`. Repeating is safe here, unlike after a failed flush: without a descriptor the
   * flush cannot have begun. `closing` resolves when the previous file is closed, which frees a descriptor.
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
        if (clock === undefined || !this.mayWait) throw error
        this.report(error)
        await this.pause(clock)
      }
    }
  }

  /** From now on no call waits for a descriptor. */
  stopWaiting(): void {
    this.mayWait = false
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
      // The file was never made, and nothing depends on it.
    }
  }

  private async begin(file: DiskFile, init: HeaderInit, first: Uint8Array): Promise<TakenSegment> {
    const header = { ...init, bytes: file.bytes }
    const encoded = encodeSegmentHeader(header)
    const segment = segmentOf(header, encoded.length)
    try {
      await file.write(0, concatenated(encoded, first))
      await this.disk.rename(SPARE, segment.name)
    } catch (error) {
      await file.close()
      throw error
    }
    return { segment, file }
  }

  /** The spare file, if it exists and has room for `bytes`; otherwise a new file. */
  private async takeFile(bytes: number): Promise<DiskFile> {
    // Refilling a full disk with zeros for each call would only keep it busy. The clock retries instead.
    const { shortage } = this
    if (shortage !== undefined && this.init.clock !== undefined) throw new NoFileError(this.roomAgain(), shortage)
    this.prepare()
    // The spare may have failed long ago, when nothing needed it.
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

/** Space for a segment with this header and this first batch. */
function neededBytes(header: HeaderInit, first: Uint8Array): number {
  return encodeSegmentHeader({ ...header, bytes: 0 }).length + first.length
}

function concatenated(a: Uint8Array, b: Uint8Array): Uint8Array {
  const both = new Uint8Array(a.length + b.length)
  both.set(a)
  both.set(b, a.length)
  return both
}
