import { beforeEach, describe, expect, it } from 'vitest'
import { OwnerBatch } from '../src/state/owner-batch.js'
import { Owners } from '../src/state/owners.js'
import type { StateStore } from '../src/state/records.js'
import type { PageOwner } from '../src/state/view.js'

const [FILE, OTHER] = [1, 2]
const MAX_RELEASED = 4
const OWNER: PageOwner = { session: 3, epoch: 5, seq: 1 }
const NOBODY: PageOwner = { session: 0, epoch: 0, seq: 0 }

/** The ranges that the batch has given to the table. */
let assigned: string[]
let owners: Owners
let batch: OwnerBatch

beforeEach(() => {
  assigned = []
  owners = new Owners({ put() {} } as unknown as StateStore, MAX_RELEASED)
  const assign = owners.assign.bind(owners)
  owners.assign = (file, first, end, owner) => {
    assigned.push(`${file}: ${first}–${end - 1}`)
    assign(file, first, end, owner)
  }
  batch = new OwnerBatch(owners)
})

const ownersOf = (pages: readonly number[], file = FILE): PageOwner[] => pages.map((page) => owners.get(file, page))

describe('a batch of owners', () => {
  it('without a page changes nothing', () => {
    batch.settle()
    expect(assigned).toEqual([])
    expect(batch.get(0, 0)).toEqual(NOBODY)
  })

  it('changes the table once for ascending pages with equal owners, and shows them before', () => {
    for (const page of [4, 5, 6]) batch.set(FILE, page, { ...OWNER })
    expect(assigned).toEqual([])
    expect([3, 4, 6, 7].map((page) => batch.get(FILE, page))).toEqual([NOBODY, OWNER, OWNER, NOBODY])
    expect(batch.get(OTHER, 5)).toEqual(NOBODY)
    batch.settle()
    batch.settle()
    expect(assigned).toEqual([`${FILE}: 4–6`])
    expect(ownersOf([3, 4, 5, 6, 7])).toEqual([NOBODY, OWNER, OWNER, OWNER, NOBODY])
    expect(batch.get(FILE, 5)).toEqual(OWNER)
  })

  it('takes pages in descending order', () => {
    for (const page of [6, 5, 4]) batch.set(FILE, page, OWNER)
    batch.settle()
    expect(assigned).toEqual([`${FILE}: 6–6`, `${FILE}: 5–5`, `${FILE}: 4–4`])
    expect(ownersOf([3, 4, 5, 6, 7])).toEqual([NOBODY, OWNER, OWNER, OWNER, NOBODY])
  })

  it('gives a page that it takes twice its last owner', () => {
    const last = { ...OWNER, seq: 2 }
    for (const page of [4, 5]) batch.set(FILE, page, OWNER)
    batch.set(FILE, 5, last)
    batch.set(FILE, 5, last)
    expect(batch.get(FILE, 5)).toEqual(last)
    expect(batch.get(FILE, 4)).toEqual(OWNER)
    batch.set(FILE, 4, last)
    batch.settle()
    expect(ownersOf([4, 5])).toEqual([last, last])
  })

  it('keeps the pages of two files apart that come in turn', () => {
    for (const page of [0, 1]) for (const file of [FILE, OTHER]) batch.set(file, page, { ...OWNER, session: file })
    for (const file of [FILE, OTHER]) expect(batch.get(file, 1)).toEqual({ ...OWNER, session: file })
    batch.settle()
    // Page 1 of a file does not continue page 0 of the other.
    batch.set(OTHER, 2, OWNER)
    batch.set(FILE, 3, OWNER)
    batch.settle()
    for (const file of [FILE, OTHER]) {
      const own = { ...OWNER, session: file }
      expect(ownersOf([0, 1], file)).toEqual([own, own])
    }
    expect([...ownersOf([2, 3], FILE), ...ownersOf([2, 3], OTHER)]).toEqual([NOBODY, OWNER, OWNER, NOBODY])
  })

  it('shows the floor of the epochs when the limit of released runs strikes between its pages', () => {
    const released = (epoch: number): PageOwner => ({ session: 0, epoch, seq: 0 })
    batch.set(OTHER, 0, OWNER)
    // Every second page, or they would be one run.
    for (let page = 0; page <= 2 * MAX_RELEASED; page += 2) batch.set(FILE, page, released(7 + page))
    // The last page is not in the table yet, so the limit is just reached.
    expect(batch.get(FILE, 0)).toEqual(released(7))
    batch.set(OTHER, 1, OWNER)
    const floor = released(7 + 2 * MAX_RELEASED)
    expect([0, 1, 2 * MAX_RELEASED].map((page) => batch.get(FILE, page))).toEqual([floor, floor, floor])
    batch.settle()
    expect(ownersOf([0, 1], OTHER)).toEqual([OWNER, OWNER])
    expect(owners.owned).toBe(2)
  })
})
