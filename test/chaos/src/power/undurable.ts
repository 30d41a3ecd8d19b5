/** Which writes and changes of names are not durable at the end of a journal. */
import type { JournalRecord, NameChange, NameRecord, Place, WriteRecord, WrittenRecord } from './journal.js'

/** The largest unit that a disk writes as a whole or not at all. */
export const SECTOR_BYTES = 512

export interface UndurableWrite {
  readonly offset: number
  /** How much of it was written; all of it may have been if the process was killed meanwhile. */
  length: number
  /** The bytes before it. Behind their end there was no file. */
  readonly replaced: Uint8Array
  readonly sizeBefore: number
  /** Undefined if the process was killed meanwhile. */
  sizeAfter: number | undefined
  sizeIsDurable: boolean
  /** Sectors that a later write has made durable: from the first up to, but not with, the second. */
  readonly durableSectors: [number, number][]
  /** Undefined if the process was killed meanwhile. */
  endedAt: bigint | undefined
}

export interface UndurableName {
  readonly op: bigint
  readonly inode: bigint
  readonly change: NameChange
  readonly from: Place
  readonly to: Place | undefined
  /** The folders whose flush is missing. */
  readonly unflushed: Set<bigint>
  endedAt: bigint | undefined
}

export interface Undurable {
  /** By the inode, in the order in which they began. */
  readonly writes: ReadonlyMap<bigint, readonly UndurableWrite[]>
  /** In the order in which they began. */
  readonly names: readonly UndurableName[]
}

/** Throws if something happened that cannot be undone. */
export function undurable(records: readonly JournalRecord[]): Undurable {
  const state = new State()
  for (const record of records) state.take(record)
  const names = [...state.names.values()]
  const writes = new Map<bigint, UndurableWrite[]>()
  for (const [inode, byOp] of state.writes) if (byOp.size > 0) writes.set(inode, [...byOp.values()])
  return { writes, names }
}

/** Replays a journal. A change leaves the state when it has become durable. */
class State {
  readonly writes = new Map<bigint, Map<bigint, UndurableWrite>>()
  readonly names = new Map<bigint, UndurableName>()

  take(record: JournalRecord): void {
    switch (record.kind) {
      case 'write':
        return this.writeBegins(record)
      case 'written':
        return this.writeEnds(record)
      case 'flushed':
        return this.flush(record.begun, record.inode)
      case 'name':
        return this.nameBegins(record)
      case 'named': {
        const name = this.names.get(record.op)
        if (name !== undefined) name.endedAt = record.order
        if (!record.done) this.names.delete(record.op)
        return
      }
      case 'unseen':
        throw new Error(`power cannot be lost: ${record.reason}`)
    }
  }

  private writeBegins({ inode, op, offset, length, replaced, size }: WriteRecord): void {
    let writes = this.writes.get(inode)
    if (writes === undefined) this.writes.set(inode, (writes = new Map()))
    const unended = { sizeAfter: undefined, sizeIsDurable: false, durableSectors: [], endedAt: undefined }
    writes.set(op, { offset, length, replaced, sizeBefore: size, ...unended })
  }

  private writeEnds({ inode, op, order, written, size, durable }: WrittenRecord): void {
    const writes = this.writes.get(inode)
    const write = writes?.get(op)
    if (writes === undefined || write === undefined) return
    write.length = written
    write.sizeAfter = size
    write.endedAt = order
    if (written === 0) writes.delete(op)
    else if (durable) this.writeIsDurable(writes, op, write)
  }

  /** The kernel flushes what is in the cache for the range, and the size of the file: earlier writes come along. */
  private writeIsDurable(writes: Map<bigint, UndurableWrite>, op: bigint, { offset, length }: UndurableWrite): void {
    writes.delete(op)
    const first = Math.floor(offset / SECTOR_BYTES)
    const end = Math.ceil((offset + length) / SECTOR_BYTES)
    for (const earlier of writes.values()) {
      if (earlier.endedAt === undefined || earlier.endedAt >= op) continue
      earlier.sizeIsDurable = true
      earlier.durableSectors.push([first, end])
    }
  }

  private nameBegins({ op, inode, change, from, to }: NameRecord): void {
    const unflushed = new Set(to === undefined ? [from.folder] : [from.folder, to.folder])
    this.names.set(op, { op, inode, change, from, to, unflushed, endedAt: undefined })
  }

  private flush(begun: bigint, inode: bigint): void {
    const isCovered = (endedAt: bigint | undefined): boolean => endedAt !== undefined && endedAt < begun
    for (const [of, writes] of this.writes) {
      if (inode !== 0n && of !== inode) continue
      for (const [op, { endedAt }] of writes) if (isCovered(endedAt)) writes.delete(op)
    }
    for (const [op, { endedAt, unflushed }] of this.names) {
      if (!isCovered(endedAt)) continue
      if (inode === 0n) unflushed.clear()
      else unflushed.delete(inode)
      if (unflushed.size === 0) this.names.delete(op)
    }
  }
}
