/**
 * The pieces of a snapshot on its way to another peer.
 *
 * A snapshot is the rows of a page store in the order of their keys: the records first, then each page with both of its
 * parts. A piece holds whole rows. A last row counts the rows before it and holds the checksum of all of them, so a
 * receiver notices a missing, repeated or foreign piece. Each row also has the checksums of the page store
 * (page-rows.ts, record-rows.ts), which the sender and the receiver check.
 */
import { crc32c } from '@node-rs/crc32'
import {
  bytes,
  CodecError,
  encode,
  MAX_ENTRY_BYTES,
  MAX_PAGE_BYTES,
  optional,
  Reader,
  struct,
  uint,
  union,
  Writer,
  type TypeOf
} from '@quire/protocol'
import { concat } from 'uint8arrays/concat'
import { equals } from 'uint8arrays/equals'
import type { BackendChange, BackendView } from './backend.js'
import { joinedRows } from './joined-rows.js'
import { checkPage } from './page-rows.js'
import { APPLIED_KEY, checkRecord, FORMAT_KEY, isOwnRecord, readNumber, STORE_FORMAT } from './record-rows.js'
import { corruption, type RowsName } from './row-bytes.js'

const key = bytes(32)

/** Tags are part of the format. */
const row = union({
  record: [1, struct({ key, value: bytes(MAX_ENTRY_BYTES) })],
  /** A page of zeros has no body. */
  page: [2, struct({ key, head: bytes(64), body: optional(bytes(MAX_PAGE_BYTES)) })],
  /** The last row. `crc` is the CRC32C of all rows before it. */
  end: [3, struct({ records: uint, pages: uint, crc: uint })]
})
type Row = TypeOf<typeof row>

export interface SnapshotPiece {
  readonly data: Uint8Array
  readonly done: boolean
}

/** The rows so far. */
interface Sums {
  readonly records: number
  readonly pages: number
  readonly crc: number
}

const NONE: Sums = { records: 0, pages: 0, crc: 0 }

/** Reads the pieces of a snapshot in order, from a view that it owns. */
export class SnapshotReader {
  /** Index of the last log entry that the snapshot holds. */
  readonly index: number
  private table: 'records' | 'heads' = 'records'
  private next: Uint8Array = new Uint8Array(0)
  private sums = NONE

  /** Throws CorruptionError if the view has no applied index. */
  constructor(
    private readonly view: BackendView,
    private readonly name: RowsName
  ) {
    this.index = this.appliedIndex()
  }

  /**
   * Returns the next piece, of at most `maxBytes` unless a single row is larger; the last row of the snapshot may
   * follow such a row. Call it no more after the piece that is `done`. Throws CorruptionError if a row is damaged.
   */
  read(maxBytes: number): SnapshotPiece {
    const writer = new Writer(maxBytes + 1024)
    if (this.table === 'records') {
      if (!this.readRecords(writer, maxBytes)) return this.piece(writer)
      this.table = 'heads'
      this.next = new Uint8Array(0)
    }
    if (!this.readPages(writer, maxBytes)) return this.piece(writer)
    const { data } = this.piece(writer)
    const end = encode(row, { type: 'end', ...this.sums })
    return { data: concat([data, end]), done: true }
  }

  close(): void {
    this.view.close()
  }

  private appliedIndex(): number {
    for (const [found, value] of this.view.from('records', APPLIED_KEY)) {
      if (equals(found, APPLIED_KEY)) return readNumber(this.name, APPLIED_KEY, value)
      break
    }
    throw corruption(this.name, 'the applied index is missing')
  }

  /** Returns false if the piece is full. */
  private readRecords(writer: Writer, maxBytes: number): boolean {
    for (const [lent, value] of this.view.from('records', this.next)) {
      if (isOwnRecord(lent)) continue
      if (isFull(writer, lent.length + value.length, maxBytes)) return this.stopAt(lent)
      checkRecord(this.name, lent, value)
      row.write(writer, { type: 'record', key: lent, value })
      this.sums = { ...this.sums, records: this.sums.records + 1 }
    }
    return true
  }

  private readPages(writer: Writer, maxBytes: number): boolean {
    for (const { key, head, body } of joinedRows(this.view, this.next)) {
      checkPage(this.name, key, head, body)
      if (isFull(writer, key.length + head.length + (body?.length ?? 0), maxBytes)) return this.stopAt(key)
      row.write(writer, { type: 'page', key, head, body })
      this.sums = { ...this.sums, pages: this.sums.pages + 1 }
    }
    return true
  }

  private stopAt(lent: Uint8Array): false {
    this.next = lent.slice()
    return false
  }

  private piece(writer: Writer): SnapshotPiece {
    const data = writer.finish()
    this.sums = { ...this.sums, crc: crc32c(data, this.sums.crc) }
    return { data, done: false }
  }
}

/** A row's tag and lengths, and the last row of a snapshot, which may have to follow, take at most this much. */
const ROW_OVERHEAD_BYTES = 32

function isFull(writer: Writer, rowBytes: number, maxBytes: number): boolean {
  return writer.size > 0 && writer.size + rowBytes + ROW_OVERHEAD_BYTES > maxBytes
}

/** Checks the pieces of a snapshot in order, and turns them into the rows of a page store. */
export class SnapshotPieces {
  private sums = NONE
  private isComplete = false
  private appliedIndex: number | undefined
  private hasFormat = false

  /** `index` is that of the snapshot's last entry. */
  constructor(
    private readonly name: RowsName,
    private readonly index: number
  ) {}

  /**
   * Returns the rows of the next piece, as views of `data`. Throws CorruptionError if the piece does not follow the
   * earlier ones, or if a row is damaged.
   */
  add(data: Uint8Array): BackendChange[] {
    const changes: BackendChange[] = []
    const reader = new Reader(data)
    while (reader.left > 0) {
      const rowStart = data.length - reader.left
      const found = this.readRow(reader)
      if (this.isComplete) throw corruption(this.name, 'a row follows the last one')
      if (found.type === 'end') this.end(found, crc32c(data.subarray(0, rowStart), this.sums.crc))
      else changes.push(...this.changesOf(found))
    }
    if (!this.isComplete) this.sums = { ...this.sums, crc: crc32c(data, this.sums.crc) }
    return changes
  }

  /** Throws CorruptionError unless all pieces were added, and form the snapshot. */
  checkComplete(): void {
    if (!this.isComplete) throw corruption(this.name, 'its last row is missing')
    if (!this.hasFormat) throw corruption(this.name, 'its format is missing')
    if (this.appliedIndex !== this.index) {
      throw corruption(this.name, `its rows are those of entry ${this.appliedIndex}, not of entry ${this.index}`)
    }
  }

  private readRow(reader: Reader): Row {
    try {
      return row.read(reader)
    } catch (error) {
      if (error instanceof CodecError) throw corruption(this.name, error.message)
      throw error
    }
  }

  private changesOf(found: Exclude<Row, { type: 'end' }>): BackendChange[] {
    const { records, pages, crc } = this.sums
    if (found.type === 'page') {
      checkPage(this.name, found.key, found.head, found.body)
      this.sums = { records, pages: pages + 1, crc }
      const head: BackendChange = { table: 'heads', key: found.key, value: found.head }
      return found.body === undefined ? [head] : [head, { table: 'bodies', key: found.key, value: found.body }]
    }
    checkRecord(this.name, found.key, found.value)
    if (equals(found.key, APPLIED_KEY)) this.appliedIndex = readNumber(this.name, APPLIED_KEY, found.value)
    if (equals(found.key, FORMAT_KEY)) this.hasFormat = readNumber(this.name, FORMAT_KEY, found.value) === STORE_FORMAT
    this.sums = { records: records + 1, pages, crc }
    return [{ table: 'records', key: found.key, value: found.value }]
  }

  private end(found: Sums, crc: number): void {
    const { records, pages } = this.sums
    if (found.records !== records || found.pages !== pages) {
      const named = `${found.records} records and ${found.pages} pages`
      throw corruption(this.name, `${named} were sent, ${records} and ${pages} have arrived`)
    }
    if (found.crc !== crc) throw corruption(this.name, 'the checksum of all rows does not match')
    this.isComplete = true
  }
}
