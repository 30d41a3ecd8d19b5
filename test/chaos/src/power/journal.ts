/** Reads the journal that the shim writes; `native/journal.h` has its layout. */

export type NameChange = 'made' | 'removed' | 'folder removed' | 'moved' | 'replaced'

/** A write begins. `replaced` has the bytes that it replaces; it ends where the file ended. */
export interface WriteRecord {
  readonly kind: 'write'
  readonly order: bigint
  readonly op: bigint
  readonly inode: bigint
  readonly offset: number
  readonly length: number
  readonly size: number
  readonly replaced: Uint8Array
}

/** A write has ended. `size` is that of the file. */
export interface WrittenRecord {
  readonly kind: 'written'
  readonly order: bigint
  readonly op: bigint
  readonly inode: bigint
  readonly written: number
  readonly size: number
  readonly durable: boolean
}

/** Everything of the inode (0: of all) that had ended before `begun` is durable. */
export interface FlushedRecord {
  readonly kind: 'flushed'
  readonly order: bigint
  readonly begun: bigint
  readonly inode: bigint
}

/** A name changes. `to` is the new name of a move. */
export interface NameRecord {
  readonly kind: 'name'
  readonly order: bigint
  readonly op: bigint
  /** The inode that has the name; 0 if the change makes it. */
  readonly inode: bigint
  readonly change: NameChange
  readonly from: Place
  readonly to: Place | undefined
}

/** A name in a folder, which is known by its inode. */
export interface Place {
  readonly folder: bigint
  readonly name: string
}

export interface NamedRecord {
  readonly kind: 'named'
  readonly order: bigint
  readonly op: bigint
  readonly done: boolean
}

/** Something happened that the journal cannot undo. */
export interface UnseenRecord {
  readonly kind: 'unseen'
  readonly order: bigint
  readonly reason: string
}

export type JournalRecord = WriteRecord | WrittenRecord | FlushedRecord | NameRecord | NamedRecord | UnseenRecord

const HEADER_BYTES = 56
const CHANGES: readonly NameChange[] = ['made', 'removed', 'folder removed', 'moved', 'replaced']

/** Returns the records of all processes in the order in which they were written. */
export function readJournals(files: readonly Uint8Array[]): JournalRecord[] {
  const records = files.flatMap((file) => [...readJournal(file)])
  return records.sort((a, b) => (a.order < b.order ? -1 : a.order > b.order ? 1 : 0))
}

/** A process that is killed may leave its last record unfinished. The change that it announces has not begun. */
function* readJournal(file: Uint8Array): Iterable<JournalRecord> {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength)
  for (let at = 0; at + HEADER_BYTES <= file.length;) {
    const end = at + HEADER_BYTES + view.getUint32(at + 4, true)
    if (end > file.length) return
    yield readRecord(new DataView(file.buffer, file.byteOffset + at, end - at))
    at = end
  }
}

function readRecord(view: DataView): JournalRecord {
  const [order, op, inode, a, b, c] = [8, 16, 24, 32, 40, 48].map((at) => view.getBigUint64(at, true)) as [
    bigint,
    bigint,
    bigint,
    bigint,
    bigint,
    bigint
  ]
  const payload = new Uint8Array(view.buffer, view.byteOffset + HEADER_BYTES, view.byteLength - HEADER_BYTES)
  const kind = view.getUint32(0, true)
  switch (kind) {
    case 1:
      return {
        kind: 'write',
        order,
        op,
        inode,
        offset: Number(a),
        length: Number(b),
        size: Number(c),
        replaced: payload
      }
    case 2:
      return { kind: 'written', order, op, inode, written: Number(a), size: Number(b), durable: c === 1n }
    case 3:
      return { kind: 'flushed', order, begun: op, inode }
    case 4: {
      const [name = '', toName = ''] = new TextDecoder().decode(payload).split('\0')
      const change = CHANGES[Number(c)]
      if (change === undefined) throw new Error(`the journal has a change of names of kind ${c}`)
      const to = change === 'moved' || change === 'replaced' ? { folder: b, name: toName } : undefined
      return { kind: 'name', order, op, inode, change, from: { folder: a, name }, to }
    }
    case 5:
      return { kind: 'named', order, op, done: a === 1n }
    case 6:
      return { kind: 'unseen', order, reason: new TextDecoder().decode(payload) }
    default:
      throw new Error(`the journal has a record of kind ${kind}`)
  }
}
