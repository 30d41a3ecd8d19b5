import { BusyError, InvalidArgumentError, type Access } from '@quire/protocol'
import { requestPin, type Page } from '../core/index.js'
import { hex } from '../history.js'
import type { OpenFile } from '../host.js'
import { checkUsable, SizeMoved, sizeMovedBy } from './page-io.js'
import type { PinnedRange } from '../types.js'

/** Pins bytes of a file. Rejects with SizeMoved if the file has become too short. */
export async function pinRange(
  file: OpenFile,
  offset: number,
  length: number,
  access: Access,
  signal?: AbortSignal
): Promise<PinnedRange> {
  const { host, space } = file
  for (;;) {
    const call = host.now()
    const pages = await pinPages(file, offset, length, access, signal)
    const isShort = offset + length > space.size
    if (!isShort && host.isLeaseValid()) return new FilePin(file, pages, offset, length, access, call)
    // The program has not seen these bytes, so the history gets no operation.
    for (const page of pages) host.table.unpin(page, access, false)
    if (isShort) throw new SizeMoved()
    await host.whenActive(signal)
  }
}

function pinPages(
  file: OpenFile,
  offset: number,
  length: number,
  access: Access,
  signal: AbortSignal | undefined
): Promise<readonly Page[]> {
  const { host, space, path, pageSize } = file
  const first = Math.floor(offset / pageSize)
  const count = Math.floor((offset + length - 1) / pageSize) - first + 1
  let pinned = 0
  const start = (resolve: (pages: readonly Page[]) => void, reject: (error: Error) => void, moved: () => void) => {
    checkUsable(file)
    const fail = (error: Error): void => reject(sizeMovedBy(error, file))
    // Only new ground counts as progress, so that pins that give way to each other do not wait forever.
    const advanced = (pages: number): void => {
      pinned = pages
      moved()
    }
    return requestPin(host.table, { space, first, count, access }, { done: resolve, fail, advanced })
  }
  return host.wait(start, signal, () => new BusyError(path, space.held.firstMissing(first, pinned) * pageSize))
}

/** The largest range whose bytes at the start of a pin are kept, to tell whether the program changes them. */
const MAX_KEPT_BYTES = 256

/** A pin of pages of the file. */
class FilePin implements PinnedRange {
  readonly bytes: Uint8Array
  private isHeld = true
  /** The bytes at the start, if there is a history: only the difference shows what the program wrote. */
  private readonly before: { readonly bytes: Uint8Array; readonly versions: readonly number[] } | undefined
  /** The bytes at the start of a short pin for writing, to tell whether the program has changed them. */
  private readonly start: Uint8Array | undefined

  constructor(
    private readonly file: OpenFile,
    private readonly pages: readonly Page[],
    private readonly offset: number,
    length: number,
    private readonly access: Access,
    private readonly call: number
  ) {
    const { buffer, byteOffset } = pages[0]!.frame!.bytes
    this.bytes = new Uint8Array(buffer, byteOffset + (offset % file.pageSize), length)
    if (file.host.recorder.isOn) this.before = { bytes: this.bytes.slice(), versions: pages.map(versionOf) }
    if (access === 'write' && length <= MAX_KEPT_BYTES) this.start = this.bytes.slice()
  }

  get wanted(): boolean {
    const { space } = this.file
    return this.isHeld && this.pages.some((page) => page.demotion !== undefined || space.isLeaving(page.index))
  }

  get lost(): AbortSignal {
    return this.file.host.lost
  }

  release(): void {
    if (!this.isHeld) return
    this.isHeld = false
    const { host } = this.file
    const misuse = this.findMisuse()
    this.record()
    for (const page of this.pages) host.table.unpin(page, this.access, this.mayHaveChanged)
    if (misuse !== undefined) throw misuse
  }

  private get mayHaveChanged(): boolean {
    if (this.access === 'read') return false
    return this.start === undefined || this.start.some((byte, i) => byte !== this.bytes[i])
  }

  /** Finds a byte that the program wrote under a read pin. It needs the copy that only a history makes. */
  private findMisuse(): Error | undefined {
    const { before, bytes, access, pages, file, offset } = this
    if (before === undefined || access === 'write' || file.host.ended !== undefined) return undefined
    const isUnwritten = (page: number): boolean => versionOf(pages[page]!) === before.versions[page]
    const start = offset % file.pageSize
    const at = bytes.findIndex(
      (byte, i) => byte !== before.bytes[i] && isUnwritten(Math.floor((start + i) / file.pageSize))
    )
    if (at < 0) return undefined
    return new InvalidArgumentError('bytes', `written at ${offset + at}`, 'left alone: they are pinned for reading')
  }

  [Symbol.dispose](): void {
    this.release()
  }

  private record(): void {
    const { before, bytes, call, access } = this
    const { host, id } = this.file
    if (before === undefined) return
    // The file is closed or its session over: no client will see the program's last writes.
    const hasEnded = this.pages.some((page) => host.table.page(id, page.index) !== page)
    if (access === 'write') {
      // Some of the bytes may have become durable before.
      const facts = { from: hex(before.bytes), to: hex(bytes) }
      host.recorder.note('exchange', id, this.offset, bytes.length, facts, { call, status: hasEnded ? 'info' : 'ok' })
    } else if (!hasEnded) {
      host.recorder.note('read', id, this.offset, bytes.length, { value: hex(before.bytes) }, { call })
    }
  }
}

/** Returns the version of bytes that no call of this client has written to; NaN if one may have. */
function versionOf(page: Page): number {
  return page.dirty || page.writePins > 0 ? NaN : page.version
}
