/** Page stores in memory as the source of snapshots, and the pieces that a reader and a receiver make of them. */
import { createHash } from 'node:crypto'
import { toString } from 'uint8arrays/to-string'
import {
  BACKEND_TABLES,
  createPageStore,
  type Backend,
  type BackendChange,
  type BackendView,
  type MemoryStorage,
  type PageStore
} from '../../src/pages/index.js'
import { SnapshotPieces, SnapshotReader } from '../../src/pages/snapshot-pieces.js'
import { memoryStorage } from '../state-helpers.js'

/** The last log entry of the stores that `storageWith` makes. */
export const INDEX = 7

/** Returns the rows of a page store that holds what `fill` writes to it. */
export async function storageWith(fill: (store: PageStore) => void): Promise<MemoryStorage> {
  const storage = memoryStorage()
  const store = createPageStore({ backend: storage.open() })
  fill(store)
  store.freeze(INDEX)
  await store.flush()
  return storage
}

/** Changes single rows behind the back of the page store. */
export async function change(storage: MemoryStorage, ...changes: BackendChange[]): Promise<void> {
  await storage.open().commit(changes)
}

export function readerOf(storage: MemoryStorage): SnapshotReader {
  return new SnapshotReader(lending(storage.open().view()), { name: 'pages', remedy: 'replace this peer' })
}

/** Takes each row back when another one is read, in whichever table, and when its iteration ends. */
export function lending(view: BackendView): BackendView {
  let lent: readonly Uint8Array[] = []
  const takeBack = (): void => {
    for (const bytes of lent) bytes.fill(0xee)
  }
  return {
    *from(table, first) {
      try {
        for (const [key, value] of view.from(table, first)) {
          takeBack()
          const row = [key.slice(), value.slice()] as const
          lent = row
          yield row
        }
      } finally {
        takeBack()
      }
    },
    close: () => view.close()
  }
}

/** Returns the data of all pieces. */
export function piecesOf(storage: MemoryStorage, maxBytes: number): Uint8Array[] {
  return piecesFrom(readerOf(storage), maxBytes)
}

export function piecesFrom(reader: SnapshotReader, maxBytes: number): Uint8Array[] {
  const pieces: Uint8Array[] = []
  for (;;) {
    const { data, done } = reader.read(maxBytes)
    pieces.push(data)
    if (done) return pieces
  }
}

/** Returns the rows that a receiver takes from the pieces, or throws its refusal. */
export function received(pieces: readonly Uint8Array[], index = INDEX): BackendChange[] {
  const receiver = new SnapshotPieces({ name: 'snapshot' }, index)
  const changes = pieces.flatMap((piece) => receiver.add(piece))
  receiver.checkComplete()
  return changes
}

/** Each row of a backend as a short text, in their order. */
export function rowsOf(backend: Backend): string[] {
  return BACKEND_TABLES.flatMap((table) =>
    [...backend.entries(table, new Uint8Array(0))].map(([key, value]) => rowText({ table, key, value }))
  )
}

export function rowText({ table, key, value }: BackendChange): string {
  const content = value === undefined ? 'removed' : createHash('sha1').update(value).digest('hex')
  return `${table} ${toString(key, 'base16')} ${content}`
}
