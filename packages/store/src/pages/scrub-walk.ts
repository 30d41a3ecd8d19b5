/**
 * A walk over all rows of a page store, which checks each of them and hashes those that all peers share.
 *
 * Equal states give equal hashes. A head holds the version of its page, the checksum of the body and the last bytes, or
 * says that all bytes are zeros, so the hash covers bodies without reading them twice. It says nothing if a row is
 * damaged.
 */
import { CorruptionError } from '@quire/protocol'
import { createHash } from 'node:crypto'
import type { BackendView } from './backend.js'
import { joinedRows } from './joined-rows.js'
import { checkPage, fileOfKey, PAGE_KEY_BYTES, pageOfKey } from './page-rows.js'
import type { RowsView } from './page-store.js'
import { checkRecord, isOwnRecord } from './record-rows.js'

export interface WalkDamage {
  /** Undefined if the key itself is damaged, so that the page is unknown. */
  readonly file: number | undefined
  readonly page: number | undefined
  readonly reason: string
}

export interface WalkedSlice {
  /** What the slice costs, for the rate of the walk: the bytes of its rows, and not less than a share for each row. */
  readonly bytes: number
  readonly damagedPages: readonly WalkDamage[]
  readonly damagedRecords: number
  readonly done: boolean
}

/** A row costs as much time as this many bytes, however small it is. */
const ROW_COST_BYTES = 1024

/** The rows of a slice so far. */
class Slice {
  bytes = 0
  readonly damagedPages: WalkDamage[] = []
  damagedRecords = 0

  constructor(private readonly maxBytes: number) {}

  get isFull(): boolean {
    return this.bytes >= this.maxBytes
  }

  add(rowBytes: number): void {
    this.bytes += Math.max(rowBytes, ROW_COST_BYTES)
  }
}

/** Walks over the rows of a view in slices. The caller closes the view. */
export class ScrubWalk {
  private readonly sum = createHash('sha256')
  private table: 'records' | 'heads' = 'records'
  private next: Uint8Array = new Uint8Array(0)
  private isDamaged = false
  private readonly length = new DataView(new ArrayBuffer(4))
  private readonly view: BackendView
  private readonly name: { readonly name: string }

  constructor({ view, name }: RowsView) {
    this.view = view
    // Without the remedy of a backend, because a walk that meets damage goes on.
    this.name = { name }
  }

  /**
   * Walks on, until the slice has `maxBytes` or a row more. Call it no more after the slice that is `done`. Throws
   * ClosedError if the view is closed.
   */
  walk(maxBytes: number): WalkedSlice {
    const slice = new Slice(maxBytes)
    let done = false
    if (this.table === 'records' && this.walkRecords(slice)) {
      this.table = 'heads'
      this.next = new Uint8Array(0)
    }
    if (this.table === 'heads') done = this.walkPages(slice)
    const { bytes, damagedPages, damagedRecords } = slice
    if (damagedRecords > 0 || damagedPages.length > 0) this.isDamaged = true
    return { bytes, damagedPages, damagedRecords, done }
  }

  /** The hash of all rows in hex, when the walk is done; undefined if it met damage. Call it once. */
  hash(): string | undefined {
    return this.isDamaged ? undefined : this.sum.digest('hex')
  }

  /** Returns false if the slice is full. */
  private walkRecords(slice: Slice): boolean {
    for (const [key, value] of this.view.from('records', this.next)) {
      if (slice.isFull) {
        this.next = key.slice()
        return false
      }
      slice.add(key.length + value.length)
      if (isOwnRecord(key)) continue
      if (this.damage(() => checkRecord(this.name, key, value)) !== undefined) slice.damagedRecords++
      else this.add(key, value)
    }
    return true
  }

  /** Returns false if the slice is full. */
  private walkPages(slice: Slice): boolean {
    for (const { key, head, body } of joinedRows(this.view, this.next)) {
      if (slice.isFull) {
        this.next = key
        return false
      }
      slice.add(key.length + (head?.length ?? 0) + (body?.length ?? 0))
      const reason = this.damage(() => checkPage(this.name, key, head, body))
      if (reason === undefined) this.add(key, head!)
      else slice.damagedPages.push(damagedPage(key, reason))
    }
    return true
  }

  private add(key: Uint8Array, value: Uint8Array): void {
    // Keys have fixed lengths in each table. The length of the value tells where the row ends.
    this.length.setUint32(0, value.length)
    this.sum.update(key).update(this.length).update(value)
  }

  private damage(check: () => void): string | undefined {
    try {
      check()
      return undefined
    } catch (error) {
      if (error instanceof CorruptionError) return error.reason
      throw error
    }
  }
}

function damagedPage(key: Uint8Array, reason: string): WalkDamage {
  const isWhole = key.length === PAGE_KEY_BYTES
  return { file: isWhole ? fileOfKey(key) : undefined, page: isWhole ? pageOfKey(key) : undefined, reason }
}
