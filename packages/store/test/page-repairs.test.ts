import { crc32c } from '@node-rs/crc32'
import type { PageMessage } from '@quire/protocol'
import { FakeClock } from '@quire/testing'
import { expect, it } from 'vitest'
import type { Applier } from '../src/pages/index.js'
import type { PageAnswer } from '../src/pages/page-copy.js'
import { PageRepairs } from '../src/pages/page-repairs.js'
import type { StoredPage } from '../src/state/index.js'
import { filled, PAGE } from './state-helpers.js'

it('while a snapshot takes the place of the pages, repairs read none and answer nobody, and go on afterwards', async () => {
  const clock = new FakeClock()
  const sent: string[] = []
  let isReplacing = false
  const applier = {
    get isReplacing() {
      return isReplacing
    },
    damage: () => {
      if (isReplacing) throw new Error('the pages are closed')
      return undefined
    }
  } as unknown as Applier
  const send = (to: string, { type }: PageMessage): void => void sent.push(`${type} to ${to}`)
  const repairs = new PageRepairs({ applier, clock, members: () => ['b'], send })
  repairs.found(1, 2)
  expect(sent.splice(0)).toEqual(['pageWanted to b'])

  isReplacing = true
  repairs.receive('b', { type: 'pageWanted', file: 1, page: 2 })
  repairs.receive('b', { type: 'pageCopy', file: 1, page: 2, applied: 9, damaged: false, copy: undefined })
  await clock.advance(5_000)
  expect(sent).toEqual([])
  expect(repairs.counts.damaged).toBe(1)

  isReplacing = false
  await clock.advance(1_000)
  expect(repairs.counts.damaged).toBe(0)
  repairs.stop()
  expect(clock.pending).toBe(0)
})

/** Repairs of a peer with two others, all of whose pages are damaged until they are repaired. */
function damagedPeer() {
  const clock = new FakeClock()
  const asked: string[] = []
  const whole = new Map<number, StoredPage | undefined>()
  const applier = {
    isReplacing: false,
    isFull: false,
    appliedIndex: 9,
    durableIndex: 9,
    state: { file: () => ({ pageSize: PAGE }) },
    damage: (_file: number, page: number) => (whole.has(page) ? undefined : { head: undefined }),
    repair: (_file: number, page: number, copy: StoredPage | undefined) => void whole.set(page, copy)
  }
  const repairs = new PageRepairs({
    applier: applier as unknown as Applier,
    clock,
    members: () => ['b', 'c'],
    send: (to, { page }) => void asked.push(`${page} of ${to}`)
  })
  const answer = (from: string, page: number, given: Partial<PageAnswer>): void => {
    const facts = { type: 'pageCopy', file: 1, page, applied: 9, damaged: false, copy: undefined } as const
    repairs.receive(from, { ...facts, ...given })
  }
  const bytes = filled(5)
  const good = { copy: { version: 4, crc: crc32c(bytes), bytes } }
  return { clock, asked, whole, applier, repairs, answer, good, bytes }
}

it('a member whose copy was damaged is asked again, because it may have been repaired', async () => {
  const { clock, asked, whole, repairs, answer, good, bytes } = damagedPeer()
  repairs.found(1, 2)
  answer('b', 2, { damaged: true })
  asked.length = 0
  await clock.advance(500)
  expect(asked).toEqual(['2 of b', '2 of c'])
  answer('b', 2, good)
  expect(whole.get(2)).toEqual({ version: 4, bytes })
  repairs.stop()
})

it('a page is removed when all other members have none, and lost when one of them has a damaged one', () => {
  const { whole, repairs, answer } = damagedPeer()
  for (const page of [2, 3]) repairs.found(1, page)
  answer('b', 2, {})
  expect(whole.has(2)).toBe(false)
  answer('c', 2, {})
  expect([...whole]).toEqual([[2, undefined]])
  answer('b', 3, {})
  answer('c', 3, { damaged: true })
  expect(repairs.counts).toEqual({ damaged: 0, repaired: 1, lost: 1 })
  repairs.stop()
})

it('a page of zeros is sent and taken without bytes, and a hole is no page', () => {
  const answers: PageMessage[] = []
  const pages = [
    { version: 4, bytes: undefined },
    { version: 0, bytes: undefined }
  ] as const
  const state = { appliedIndex: 9, page: (_file: number, page: number) => pages[page] }
  const repairs = new PageRepairs({
    applier: { isReplacing: false, state } as unknown as Applier,
    clock: new FakeClock(),
    members: () => ['b'],
    send: (_to, message) => void answers.push(message)
  })
  for (const page of pages.keys()) repairs.receive('b', { type: 'pageWanted', file: 1, page })
  expect(answers).toMatchObject([{ copy: { version: 4, crc: 0, bytes: new Uint8Array(0) } }, { copy: undefined }])

  const { whole, repairs: damaged, answer } = damagedPeer()
  damaged.found(1, 2)
  const { copy } = answers[0] as PageAnswer
  answer('b', 2, { copy })
  expect([...whole]).toEqual([[2, { version: 4, bytes: undefined }]])
  damaged.stop()
})

it('while the active memtable is full, copies are asked for only if somebody waits for the page', async () => {
  const { clock, asked, applier, repairs, answer, good } = damagedPeer()
  applier.isFull = true
  for (const page of [2, 3]) repairs.found(1, page)
  expect(asked).toEqual([])
  const outcomes: unknown[] = []
  repairs.whenRepaired(1, 3, (error) => outcomes.push(error))
  repairs.whenRepaired(1, 3, () => outcomes.push('canceled'))()
  expect(asked).toEqual(['3 of b', '3 of c'])
  answer('b', 3, good)
  expect(outcomes).toEqual([undefined])
  applier.isFull = false
  await clock.advance(500)
  expect(asked.slice(2)).toEqual(['2 of b', '2 of c'])
  repairs.stop()
})
