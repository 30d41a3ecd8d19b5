import { crc32c } from '@node-rs/crc32'
import { CorruptionError } from '@quire/protocol'
import fc from 'fast-check'
import { compare } from 'uint8arrays/compare'
import { describe, expect, it } from 'vitest'
import type { BackendTable, BackendView, MemoryStorage, PageStore } from '../src/pages/index.js'
import { PageEncoder, pageKey } from '../src/pages/page-rows.js'
import {
  APPLIED_KEY,
  FORMAT_KEY,
  STORE_FORMAT,
  INSTALLED_KEY,
  numberValue,
  recordKey,
  recordValue,
  snapshotValue
} from '../src/pages/record-rows.js'
import { SnapshotPieces, SnapshotReader } from '../src/pages/snapshot-pieces.js'
import { filled, PAGE } from './state-helpers.js'
import {
  change,
  INDEX,
  piecesFrom,
  piecesOf,
  readerOf,
  received,
  rowsOf,
  rowText,
  storageWith
} from './support/snapshot-rows.js'

/** Small pages and few records, so that a test can change each bit of a snapshot. */
const SMALL_PAGE = 32

function fillSmall(store: PageStore, value = 1): void {
  store.put('owner', 1, 0, { count: 1, session: 5, epoch: value, seq: 0 })
  for (let page = 0; page < 3; page++) store.write(1, page, { version: value, bytes: filled(value, SMALL_PAGE) })
  store.write(1, 3, { version: value, bytes: undefined })
}

/** The value of a record whose checksum matches, with so many bytes. */
function sealed(key: Uint8Array, bytes: number): Uint8Array {
  const value = new Uint8Array(4 + bytes)
  new DataView(value.buffer).setUint32(0, crc32c(value.subarray(4), crc32c(key)), true)
  return value
}

/** A piece holds about two rows, and the snapshot of `fillSmall` takes several. */
const SMALL_PIECE = 130

type Row = readonly [key: Uint8Array, value: Uint8Array]

/** A view of many rows, which are in order. */
function viewOf(rows: Readonly<Record<BackendTable, readonly Row[]>>): BackendView {
  return {
    from: (table, first) => rows[table].slice(rows[table].findIndex(([key]) => compare(key, first) >= 0)),
    close: () => {}
  }
}

/** Four pages of one file, without other records than those of every store. */
const fourPages = (): Promise<MemoryStorage> =>
  storageWith((store) => {
    for (let page = 0; page < 4; page++) store.write(1, page, { version: 1, bytes: filled(page) })
  })

const remove = (storage: MemoryStorage, table: BackendTable, key: Uint8Array): Promise<void> =>
  change(storage, { table, key, value: undefined })

describe('the pieces of a snapshot', () => {
  it('the pieces of a snapshot bring all rows to the receiver, whatever their number and size', async () => {
    const pages = fc.array(
      fc.record({
        file: fc.nat(3),
        page: fc.nat(40),
        version: fc.nat(),
        value: fc.nat(255),
        bytes: fc.constantFrom(0, 4096, 8192, 65_536)
      }),
      { maxLength: 20 }
    )
    const records = fc.array(fc.tuple(fc.constantFrom('owner', 'session'), fc.nat(2 ** 40), fc.nat(60)), {
      maxLength: 20
    })
    await fc.assert(
      fc.asyncProperty(pages, records, fc.integer({ min: 1, max: 150_000 }), async (pages, records, maxBytes) => {
        const storage = await storageWith((store) => {
          for (const { file, page, version, value, bytes } of pages) {
            store.write(file, page, { version, bytes: bytes === 0 ? undefined : filled(value, bytes) })
          }
          for (const [kind, a, length] of records) {
            if (kind === 'owner') store.put('owner', a, length, { count: 1, session: a, epoch: 1, seq: length })
            else store.put('session', a, 0, { clientId: 'c'.repeat(length), ttlMs: 1, settled: 0 })
          }
        })
        const pieces = piecesOf(storage, maxBytes)
        const expected = rowsOf(storage.open())
        expect(received(pieces).map(rowText).sort()).toEqual(expected.sort())
        for (const piece of pieces.slice(0, -1)) {
          // A piece holds whole rows: a receiver can read it without the others.
          const rows = new SnapshotPieces({ name: 'piece' }, INDEX).add(piece)
          if (rows.filter(({ table }) => table !== 'bodies').length > 1) {
            expect(piece.length).toBeLessThanOrEqual(maxBytes)
          }
        }
      }),
      { numRuns: 30 }
    )
  })

  it('a piece of a snapshot holds as many rows as fit', async () => {
    const storage = await fourPages()
    expect(piecesOf(storage, 5 * PAGE)).toHaveLength(1)
    expect(piecesOf(storage, 2 * PAGE + 300)).toHaveLength(2)
    // Each page is larger than a piece. The records, which come first, share one.
    expect(piecesOf(storage, 100).map((piece) => piece.length > PAGE)).toEqual([false, true, true, true, true])
  })

  it('a page of zeros adds little to a snapshot', async () => {
    const storage = await storageWith((store) => {
      for (let page = 0; page < 1000; page++) store.write(1, page, { version: 1, bytes: undefined })
    })
    const pieces = piecesOf(storage, 1_000_000)
    expect(pieces.reduce((sum, { length }) => sum + length, 0)).toBeLessThan(70_000)
    expect(received(pieces).filter(({ table }) => table !== 'records')).toHaveLength(1000)
  })

  it('the last piece of a snapshot takes at most the given bytes together with its last row', async () => {
    // The counts of the last row are long, and so are the lengths of the row before it.
    const records = Array.from({ length: 2 ** 14 }, (_, a): Row => {
      const key = recordKey('mapping', a, 0)
      return [key, recordValue(key, 'mapping', {})]
    })
    const pages = Array.from({ length: 200 }, (_, page) => {
      return new PageEncoder().encode(1, page, 1, filled(1, page < 199 ? SMALL_PAGE : 65_536))
    })
    const view = viewOf({
      records: [[APPLIED_KEY, numberValue(APPLIED_KEY, INDEX)], ...records],
      heads: pages.map(({ key, head }): Row => [key, head]),
      bodies: pages.map(({ key, body }): Row => [key, body!])
    })
    const pieces = (maxBytes: number): Uint8Array[] => piecesFrom(new SnapshotReader(view, { name: 'pages' }), maxBytes)
    const [{ length }, ...more] = pieces(4_000_000) as [Uint8Array, ...Uint8Array[]]
    expect(more).toEqual([])
    // One byte too few for all rows.
    for (const piece of pieces(length - 1)) expect(piece.length).toBeLessThan(length)
  })

  it('the record of an installation at the sender is no part of a snapshot', async () => {
    const storage = await fourPages()
    const before = rowsOf(storage.open()).sort()
    const configuration = { index: 1, term: 1, kind: 'config' as const, data: new Uint8Array(3) }
    const value = snapshotValue(INSTALLED_KEY, { index: INDEX, term: 2, configuration })
    await change(storage, { table: 'records', key: INSTALLED_KEY, value })
    expect(received(piecesOf(storage, PAGE)).map(rowText).sort()).toEqual(before)
  })
})

describe('damage at the sender of a snapshot', () => {
  /** Sizes of pieces that put all rows in one, and each page in one of its own. */
  const sizes = [1_000_000, 100]

  function expectRefusal(storage: MemoryStorage, reason: string): void {
    for (const maxBytes of sizes) {
      expect(() => piecesOf(storage, maxBytes), `pieces of ${maxBytes} bytes`).toThrow(
        expect.objectContaining({ name: 'CorruptionError', where: 'pages', reason })
      )
    }
  }

  it.each([
    ['heads', "the checksum of the page's head does not match"],
    ['bodies', 'the checksum of the page does not match']
  ] as const)(
    'a damaged row of %s ends the sending of a snapshot, and the error names the page',
    async (table, why) => {
      for (const page of [0, 1, 3]) {
        const storage = await fourPages()
        storage.damage(table, page, 200)
        expectRefusal(storage, `page ${page} of file 1: ${why}`)
      }
    }
  )

  it('a damaged record ends the sending of a snapshot', async () => {
    const storage = await storageWith((store) => store.put('owner', 1, 2, { count: 1, session: 3, epoch: 4, seq: 5 }))
    await change(storage, { table: 'records', key: recordKey('owner', 1, 2), value: filled(7, 20) })
    expectRefusal(storage, 'the checksum of the record in row 7 does not match; replace this peer')
  })

  it('a page without a body ends the sending of a snapshot, and the error names the page', async () => {
    for (const page of [0, 1, 3]) {
      const storage = await fourPages()
      await remove(storage, 'bodies', pageKey(1, page))
      expectRefusal(storage, `page ${page} of file 1: the page has a head but no body`)
    }
  })

  it('a page of zeros with a body ends the sending of a snapshot, and the error names the page', async () => {
    for (const page of [0, 1, 3]) {
      const storage = await storageWith((store) => {
        for (let at = 0; at < 4; at++) store.write(1, at, { version: 1, bytes: at === page ? undefined : filled(at) })
      })
      await change(storage, { table: 'bodies', key: pageKey(1, page), value: filled(1) })
      expectRefusal(storage, `page ${page} of file 1: the page is zeros but has a body`)
    }
  })

  it('a page without a head ends the sending of a snapshot, and the error names the page', async () => {
    for (const page of [0, 1, 3]) {
      const storage = await fourPages()
      await remove(storage, 'heads', pageKey(1, page))
      expectRefusal(storage, `page ${page} of file 1: the page has a body but no head`)
    }
  })

  it('a row of a page under a key of another length ends the sending of a snapshot', async () => {
    for (const table of ['heads', 'bodies'] as const) {
      const storage = await fourPages()
      await change(storage, { table, key: new Uint8Array(5), value: filled(1) })
      expectRefusal(storage, 'a page has a key of 5 bytes; replace this peer')
    }
  })

  it('a page store without its applied index ends the sending of a snapshot', async () => {
    const storage = await fourPages()
    await remove(storage, 'records', APPLIED_KEY)
    expect(() => readerOf(storage)).toThrow('the applied index is missing')
  })
})

describe('the receiver of a snapshot', () => {
  /** Several pieces of two snapshots with the same keys and other values. */
  const twoSnapshots = async (): Promise<[Uint8Array[], Uint8Array[]]> => {
    const [one, other] = [
      await storageWith((store) => fillSmall(store)),
      await storageWith((store) => fillSmall(store, 2))
    ]
    return [piecesOf(one, SMALL_PIECE), piecesOf(other, SMALL_PIECE)]
  }

  /** An `expect` for each bit would take longer than the check. */
  function isRefused(pieces: readonly Uint8Array[]): boolean {
    try {
      received(pieces)
      return false
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error
      return true
    }
  }

  it('the receiver of a snapshot refuses pieces that are missing, repeated, out of order, or of another snapshot', async () => {
    const [pieces, others] = await twoSnapshots()
    expect(pieces.length).toBeGreaterThan(3)
    expect(received(pieces)).toHaveLength(3 + 2 * 3 + 1)
    for (const at of pieces.keys()) {
      const next = (at + 1) % pieces.length
      const wrong = {
        foreign: pieces.with(at, others[at]!),
        missing: pieces.toSpliced(at, 1),
        repeated: pieces.toSpliced(at, 0, pieces[at]!),
        swapped: pieces.with(at, pieces[next]!).with(next, pieces[at]!)
      }
      for (const [name, given] of Object.entries(wrong)) {
        expect(() => received(given), `piece ${at} is ${name}`).toThrow(CorruptionError)
      }
    }
    expect(() => received(pieces.toSpliced(-2, 1))).toThrow('3 records and 4 pages were sent, 3 and 3 have arrived')
  })

  it('the receiver of a snapshot refuses rows after the last one', async () => {
    const [pieces] = await twoSnapshots()
    const last = pieces.at(-1)!
    const refusal = 'a row follows the last one'
    expect(() => received([...pieces, pieces[0]!])).toThrow(refusal)
    expect(() => received([...pieces, last])).toThrow(refusal)
    expect(() => received(pieces.with(-1, Uint8Array.of(...last, ...pieces[0]!)))).toThrow(refusal)
  })

  it('the receiver of a snapshot refuses a piece that was cut at any byte', async () => {
    const [pieces] = await twoSnapshots()
    for (const [at, piece] of pieces.entries()) {
      for (let length = 0; length < piece.length; length++) {
        const cut = pieces.with(at, piece.subarray(0, length))
        if (!isRefused(cut)) expect.fail(`piece ${at} is accepted with ${length} bytes of ${piece.length}`)
      }
    }
  })

  it('the receiver of a snapshot refuses it with any bit flipped', async () => {
    const [pieces] = await twoSnapshots()
    for (const [at, piece] of pieces.entries()) {
      for (let bit = 0; bit < piece.length * 8; bit++) {
        const flipped = piece.slice()
        flipped[bit >> 3]! ^= 1 << (bit & 7)
        if (!isRefused(pieces.with(at, flipped))) expect.fail(`piece ${at} is accepted with bit ${bit} flipped`)
      }
    }
  })

  it('the receiver of a snapshot refuses a damaged row as soon as it arrives, and the error names a page', async () => {
    const [pieces] = await twoSnapshots()
    const addDamaged = (at: number): void => {
      const receiver = new SnapshotPieces({ name: 'snapshot' }, INDEX)
      for (const piece of pieces.slice(0, at)) receiver.add(piece)
      const damaged = pieces[at]!.slice()
      // The last byte of the piece is that of its last row.
      damaged[damaged.length - 1]! ^= 1
      receiver.add(damaged)
    }
    expect(() => addDamaged(0)).toThrow('the checksum of the record in row 7 does not match')
    expect(() => addDamaged(pieces.length - 2)).toThrow('page 2 of file 1: the checksum of the page does not match')
  })

  it('the receiver of a snapshot refuses the rows of another entry than the snapshot names', async () => {
    const [pieces] = await twoSnapshots()
    expect(() => received(pieces, INDEX + 1)).toThrow(
      expect.objectContaining({
        name: 'CorruptionError',
        where: 'snapshot',
        reason: `its rows are those of entry ${INDEX}, not of entry ${INDEX + 1}`
      })
    )
  })

  it('the receiver of a snapshot refuses rows of another format, or without one', async () => {
    for (const value of [undefined, numberValue(FORMAT_KEY, STORE_FORMAT + 1)]) {
      const storage = await fourPages()
      await change(storage, { table: 'records', key: FORMAT_KEY, value })
      expect(() => received(piecesOf(storage, PAGE))).toThrow('its format is missing')
    }
  })

  it('the receiver of a snapshot refuses a number that is none, although its checksum matches', async () => {
    const notANumber = numberValue(FORMAT_KEY, NaN)
    for (const value of [
      notANumber,
      numberValue(FORMAT_KEY, -1),
      numberValue(FORMAT_KEY, 1.5),
      sealed(FORMAT_KEY, 7)
    ]) {
      const storage = await fourPages()
      await change(storage, { table: 'records', key: FORMAT_KEY, value })
      expect(() => received(piecesOf(storage, PAGE))).toThrow(
        expect.objectContaining({ name: 'CorruptionError', reason: expect.stringMatching(/is no number/) as string })
      )
    }
  })

  it('the receiver of a snapshot refuses it without its last row', async () => {
    const [pieces] = await twoSnapshots()
    expect(() => received(pieces.slice(0, -1))).toThrow('its last row is missing')
    expect(() => received([])).toThrow('its last row is missing')
  })
})
