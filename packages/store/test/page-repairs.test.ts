import { FakeClock } from '@quire/testing'
import type { PageMessage } from '@quire/protocol'
import { expect, it } from 'vitest'
import type { Applier } from '../src/pages/index.js'
import { PageRepairs } from '../src/pages/page-repairs.js'

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
