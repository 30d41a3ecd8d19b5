import { crc32c } from '@node-rs/crc32'
import type { StoredPage } from '../state/index.js'
import type { Backend } from './backend.js'
import {
  HEAD_BYTES,
  PAGE_KEY_BYTES,
  TAIL_BYTES,
  TAIL_START,
  checkBody,
  checkHead,
  readMark,
  refuseOrphan
} from './page-rows.js'
import { setUint53, viewOf } from './row-bytes.js'

/** Pages that are read share buffers of this size. */
const READ_BUFFER_BYTES = 64 * 1024

/** Reads pages. Several share a buffer, because a buffer for each costs as much as the check of its bytes. */
export class PageReader {
  /** The key and the head of the page that is being read. */
  private readonly row = new Uint8Array(PAGE_KEY_BYTES + HEAD_BYTES)
  private readonly view = viewOf(this.row)
  private readonly key = this.row.subarray(0, PAGE_KEY_BYTES)
  private readonly head = this.row.subarray(PAGE_KEY_BYTES)
  private readonly covered = this.row.subarray(0, this.row.length - 4)
  private readonly tail = this.head.subarray(TAIL_START, TAIL_START + TAIL_BYTES)
  private buffer = new Uint8Array(0)
  private next = 0

  /** Returns a copy of the page, or undefined if the backend has no such page. Throws DamagedPageError. */
  read(backend: Backend, file: number, page: number): StoredPage | undefined {
    const { view, key, head } = this
    setUint53(view, 0, file)
    setUint53(view, 8, page)
    // A view that is valid only until the next `get`.
    const lent = backend.get('heads', key)
    if (lent === undefined) {
      refuseOrphan(backend, key)
      return undefined
    }
    if (lent.length !== HEAD_BYTES) checkHead(backend, key, lent)
    head.set(lent)
    if (crc32c(this.covered) !== view.getUint32(this.covered.length, true)) checkHead(backend, key, head)
    const body = backend.get('bodies', key)
    checkBody(backend, key, readMark(view, PAGE_KEY_BYTES), body)
    const version = view.getFloat64(PAGE_KEY_BYTES, true)
    if (body === undefined) return { version, bytes: undefined }
    const bytes = this.take(body.length + TAIL_BYTES)
    bytes.set(body)
    bytes.set(this.tail, body.length)
    return { version, bytes }
  }

  private take(length: number): Uint8Array {
    if (this.next + length > this.buffer.length) {
      this.buffer = new Uint8Array(Math.max(READ_BUFFER_BYTES, length))
      this.next = 0
    }
    const start = this.next
    this.next += length
    return this.buffer.subarray(start, this.next)
  }
}
