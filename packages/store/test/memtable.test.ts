/** The rows that a checkpoint writes (docs/storage.md, Checkpoints). */
import { crc32c } from '@node-rs/crc32'
import { describe, expect, it } from 'vitest'
import type { Backend } from '../src/pages/backend.js'
import { PageEncoder, fileOfKey, pageKey, pageOfKey } from '../src/pages/page-rows.js'
import { PageReader } from '../src/pages/page-reader.js'
import { Memtable } from '../src/pages/memtable.js'

const TAIL_BYTES = 28

/** The bytes of a page, which differ from page to page. */
function bytesOf(page: number): Uint8Array {
  return new Uint8Array(64).map((_, i) => page * 31 + (page >> 8) + i)
}

describe('the rows of a checkpoint', () => {
  it('come in the order of their keys, whatever the order of the writes was', () => {
    const memtable = new Memtable()
    const written: string[] = []
    for (const file of [300, 2, 2 ** 40]) {
      for (const page of [9, 2 ** 33, 0, 10]) {
        memtable.write(file, page, { version: 1, bytes: bytesOf(page) })
        written.push(`${file} ${page}`)
      }
    }
    const rows = [...memtable.changes(1, { keys: () => [] })]
    for (const table of ['heads', 'bodies']) {
      const keys = rows.filter((row) => row.table === table).map(({ key }) => key)
      expect(keys).toEqual(keys.toSorted((one, other) => Buffer.compare(one, other)))
      expect(keys.map((key) => `${fileOfKey(key)} ${pageOfKey(key)}`).sort()).toEqual(written.sort())
    }
  })

  it('keep their bytes when an encoder goes on to its next buffers', () => {
    const pages = 2 * 1024 + 500
    const encoder = new PageEncoder()
    const reader = new PageReader()
    const rows = Array.from({ length: pages }, (_, page) =>
      encoder.encode(7, page, page + 1, (['lost', 'zeros', bytesOf(page)] as const)[page % 3]!)
    )
    expect(new Set(rows.map(({ head }) => head.buffer)).size).toBe(3)
    for (const [page, { key, head, body }] of rows.entries()) {
      expect(key).toEqual(pageKey(7, page))
      const backend = { get: (table: string) => (table === 'heads' ? head : body) } as unknown as Backend
      const bytes = page % 3 === 1 ? undefined : bytesOf(page)
      if (page % 3 === 0) expect(() => reader.read(backend, 7, page)).toThrow('page')
      else expect(reader.read(backend, 7, page)).toEqual({ version: page + 1, bytes })
      if (body !== undefined) expect(crc32c(body)).toBe(crc32c(bytesOf(page).subarray(0, -TAIL_BYTES)))
    }
  })
})
