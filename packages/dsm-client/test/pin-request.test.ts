import { expect, it } from 'vitest'
import type { Access } from '@quire/protocol'
import {
  AddressSpacePages,
  PageTable,
  createSlabFrameProvider,
  requestPin,
  zeroCounters,
  type Page,
  type PageBackend
} from '../src/core/index.js'

const PAGE = 4096

/** Faults wait until they are granted. */
class Backend implements PageBackend {
  readonly canFault = true
  readonly asked: Page[] = []

  fault(page: Page): void {
    page.req = 1
    this.asked.push(page)
  }

  grantAll(table: PageTable): void {
    for (let page = this.asked.shift(); page !== undefined; page = this.asked.shift()) {
      page.req = 0
      page.access = 'modified'
      table.granted(page)
    }
  }

  dropFault(): void {}
  writeBack(): void {}
  settled(): void {}
}

const ignore = { access: 'write' as Access, pin: false, run: () => {}, fail: () => {} }

it('a pin that waits for room takes the entries that its pages have then', () => {
  const backend = new Backend()
  const table = new PageTable(createSlabFrameProvider(16 * PAGE), backend, zeroCounters())
  const space = new AddressSpacePages({ file: 1, path: '/a', pageSize: PAGE, size: 16 * PAGE })
  table.add(space)
  // One dirty page, 14 frames of nobody: one frame is free.
  table.access(1, 5, ignore)
  backend.grantAll(table)
  const frames = table.resident.takeAnonymous(PAGE, 14, () => {})!
  let pinned: readonly Page[] | undefined
  const target = { space, first: 0, count: 2, access: 'write' as Access }
  requestPin(table, target, { done: (pages) => (pinned = pages), fail: (error) => expect(error).toBeUndefined() })
  // Nobody needs the entry while it waits: it goes, as when its page is taken away.
  table.forgetIfUnused(space.get(0)!)
  table.access(1, 0, ignore)
  for (const frame of frames) table.releaseFrame(frame)
  table.retry()
  backend.grantAll(table)
  backend.grantAll(table)
  expect(pinned).toHaveLength(2)
  expect(pinned![0]).toBe(space.get(0))
  expect(pinned![1]).toBe(space.get(1))
  for (const page of pinned!) table.unpin(page, 'write')
})
