import { crc32c } from '@node-rs/crc32'
import { describe, expect, it } from 'vitest'
import { markOf, type DamagedPage } from '../src/pages/page-rows.js'
import { judgeCopy, type PageAnswer } from '../src/pages/page-copy.js'
import { filled, PAGE } from './state-helpers.js'

const APPLIED = 100
const DURABLE = 90
const good = filled(7)

function answer(applied: number, version: number | undefined, bytes = good): PageAnswer {
  const copy = version === undefined ? undefined : { version, crc: crc32c(bytes), bytes }
  return { type: 'pageCopy', file: 1, page: 2, applied, damaged: false, copy }
}

/** Judges for a peer that has applied 100 entries, 90 of them durably, and whose copy has lost its body, or all. */
function judge(given: PageAnswer, head: DamagedPage['head']): ReturnType<typeof judgeCopy> {
  return judgeCopy(given, { damage: { head }, appliedIndex: APPLIED, durableIndex: DURABLE, pageSize: PAGE })
}

const lostBody = { version: 40, mark: markOf(good) }
const lostHead = undefined
const copy = { version: 40, bytes: good }

describe('the judgement of a copy', () => {
  it('a copy with the version and the checksum of the local head is good, however far its peer is', () => {
    for (const applied of [40, 99, 100, 140]) expect(judge(answer(applied, 40), lostBody)).toEqual(copy)
  })

  it('a copy with the version of the local head and other bytes is useless', () => {
    expect(judge(answer(100, 40, filled(8)), lostBody)).toBe('useless')
  })

  it('a copy whose bytes were damaged on their way, or have another size, is useless', () => {
    const { copy: sent, ...facts } = answer(100, 40)
    expect(judge({ ...facts, copy: { ...sent!, crc: 1 } }, lostHead)).toBe('useless')
    expect(judge(answer(100, 40, good.subarray(1)), lostHead)).toBe('useless')
  })

  it('a page of zeros comes without bytes, for a head that says so or that is lost', () => {
    const none = new Uint8Array(0)
    const zeros = { version: 40, mark: 'zeros' } as const
    for (const head of [zeros, { version: 40, mark: undefined }, lostHead]) {
      expect(judge(answer(100, 40, none), head)).toEqual({ version: 40, bytes: undefined })
    }
    expect(judge(answer(100, 40, none), lostBody)).toBe('useless')
    expect(judge(answer(100, 40), zeros)).toBe('useless')
    const { copy: sent, ...facts } = answer(100, 40, none)
    expect(judge({ ...facts, copy: { ...sent!, crc: 1 } }, zeros)).toBe('useless')
  })

  it('a page whose checksum nobody knows takes any bytes of its version', () => {
    expect(judge(answer(100, 40), { version: 40, mark: undefined })).toEqual(copy)
    expect(judge(answer(100, 41), { version: 40, mark: undefined })).toBe('useless')
  })

  it('without a local head, a copy is good if its peer has all entries of the checkpoint, and no entry that is missing here changed it', () => {
    for (const applied of [90, 99, 100, 101, 200]) expect(judge(answer(applied, 40), lostHead)).toEqual(copy)
    expect(judge(answer(100, 100), lostHead)).toEqual({ version: 100, bytes: good })
  })

  it('without a local head, the copy of a peer that is behind the checkpoint may be too old', () => {
    expect(judge(answer(89, 40), lostHead)).toBe('later')
    expect(judge(answer(89, undefined), lostHead)).toBe('later')
  })

  it('without a local head, a page should be absent if a peer with all entries of the checkpoint has none', () => {
    for (const applied of [90, 99, 100]) expect(judge(answer(applied, undefined), lostHead)).toBe('absent')
  })

  it('a page that an entry after the checkpoint has lost waits for a peer with that entry', () => {
    const lost = { version: 95, mark: undefined }
    expect(judge(answer(94, 40), lost)).toBe('later')
    expect(judge(answer(95, 95), lost)).toEqual({ version: 95, bytes: good })
    expect(judge(answer(95, 40), lost)).toBe('useless')
  })

  it('a copy that an entry has changed or removed which is not applied here has to wait for this entry', () => {
    expect(judge(answer(101, 101), lostHead)).toBe('later')
    expect(judge(answer(101, 101), lostBody)).toBe('later')
    expect(judge(answer(101, undefined), lostHead)).toBe('later')
    expect(judge(answer(101, undefined), lostBody)).toBe('later')
  })

  it('a peer that is behind and has another version may get the right one', () => {
    expect(judge(answer(39, 20), lostBody)).toBe('later')
    expect(judge(answer(39, undefined), lostBody)).toBe('later')
  })

  it('a peer at the same entry that contradicts is no help, and neither is one whose copy is damaged', () => {
    expect(judge(answer(100, undefined), lostBody)).toBe('useless')
    expect(judge(answer(120, 39), lostBody)).toBe('useless')
    expect(judge({ ...answer(100, undefined), damaged: true }, lostBody)).toBe('damaged')
  })
})
