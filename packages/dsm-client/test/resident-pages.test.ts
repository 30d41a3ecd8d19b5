import { describe, expect, it } from 'vitest'
import { AddressSpacePages } from '../src/core/address-space.js'
import { createSlabFrameProvider } from '../src/core/frames.js'
import type { Page } from '../src/core/page.js'
import { ResidentPages } from '../src/core/resident-pages.js'

const PAGE = 4096

function setUp(pages = 16) {
  const frames = createSlabFrameProvider(pages * PAGE)
  const resident = new ResidentPages(frames)
  const space = new AddressSpacePages({ file: 1, path: '/f', pageSize: PAGE }, frames)
  const evicted: number[] = []
  const evict = (victim: Page) => {
    evicted.push(victim.index)
    resident.release(victim)
  }
  const place = (index: number): Page | undefined => {
    const page = space.getOrCreate(index)
    if (!resident.place(page, space, evict)) return undefined
    resident.changed(page)
    return page
  }
  const fill = () => Array.from({ length: pages }, (_, index) => place(index)!)
  return { frames, resident, space, evicted, place, fill }
}

describe('resident pages', () => {
  it('resident pages get contiguous frames in the order of the file where possible, whatever the order of their arrival', () => {
    const { place } = setUp()
    const [five, six, four] = [place(5)!, place(6)!, place(4)!]
    expect(six.frame!.bytes.byteOffset - five.frame!.bytes.byteOffset).toBe(PAGE)
    // No frame comes before the first one of the slab, so page 4 has another place.
    expect(four.frame).toBeDefined()
  })

  it('resident pages keep their frame when they are placed again', () => {
    const { place, frames } = setUp()
    const page = place(1)!
    const { frame } = page
    expect(place(1)!.frame).toBe(frame)
    expect(frames.usedBytes).toBe(PAGE)
  })

  it('an eviction takes the page that arrived first', () => {
    const { fill, place, evicted } = setUp()
    fill()
    place(100)
    place(101)
    expect(evicted).toEqual([0, 1])
  })

  it('an eviction gives an accessed page a second chance, after all others', () => {
    const { fill, place, evicted } = setUp()
    const pages = fill()
    pages[0]!.accessed = true
    place(100)
    expect(evicted).toEqual([1])
    expect(pages[0]!.accessed).toBe(false)
    for (let index = 101; index < 116; index++) place(index)
    // Page 0 goes after the other old pages, but not never.
    expect(evicted).toContain(0)
    expect(evicted.indexOf(0)).toBeGreaterThan(evicted.indexOf(15))
  })

  it('an eviction finds a victim even if all pages were accessed', () => {
    const { fill, place, evicted } = setUp()
    for (const page of fill()) page.accessed = true
    expect(place(100)).toBeDefined()
    expect(evicted).toEqual([0])
  })

  it('an eviction never takes a page that is dirty or pinned, or has a fault or waiters', () => {
    const { fill, resident, place, evicted } = setUp()
    const pages = fill()
    pages[0]!.dirty = true
    pages[1]!.readPins = 1
    pages[2]!.req = 7
    pages[3]!.waiters.push({ access: 'read', pin: false, run: () => {}, fail: () => {} })
    for (const page of pages.slice(0, 4)) resident.changed(page)
    place(100)
    expect(evicted).toEqual([4])
  })

  it('an eviction provides no frame if none can become free, and tells whether waiting could help', () => {
    const { fill, resident, place } = setUp()
    const pages = fill()
    for (const page of pages) {
      page.readPins = 1
      resident.changed(page)
    }
    expect(place(100)).toBeUndefined()
    expect(resident.isFullFor(4096, 1)).toBe(true)
    pages[3]!.readPins = 0
    pages[3]!.dirty = true
    resident.changed(pages[3]!)
    expect(place(100)).toBeUndefined()
    expect([1, 2].map((count) => resident.isFullFor(4096, count))).toEqual([false, true])
  })

  it('resident pages are written back in the order in which they became dirty', () => {
    const { fill, resident } = setUp()
    const pages = fill()
    for (const index of [7, 3, 11, 5]) {
      pages[index]!.dirty = true
      resident.changed(pages[index]!)
    }
    // A dirty page that changes again keeps its place in the order.
    resident.changed(pages[7]!)
    expect(resident.takeDirty(3).map((page) => page.index)).toEqual([7, 3, 11])
    expect(resident.takeDirty(3).map((page) => page.index)).toEqual([5])
    expect(resident.takeDirty(3)).toEqual([])
  })

  it('resident pages are not written back without a flush while they are pinned, queued or in flight', () => {
    const { fill, resident } = setUp()
    const pages = fill()
    for (const page of pages.slice(0, 4)) page.dirty = true
    pages[0]!.writePins = 1
    pages[1]!.writing = true
    pages[2]!.queuedForWrite = true
    for (const page of pages.slice(0, 4)) resident.changed(page)
    expect(resident.takeDirty(9).map((page) => page.index)).toEqual([3])
    pages[0]!.writePins = 0
    resident.changed(pages[0]!)
    expect(resident.takeDirty(9).map((page) => page.index)).toEqual([0])
  })

  it('resident pages count as mostly dirty if more than half of their bytes are dirty', () => {
    const { fill, resident } = setUp()
    const pages = fill()
    for (const page of pages.slice(0, 8)) {
      page.dirty = true
      resident.changed(page)
    }
    expect(resident.isMostlyDirty).toBe(false)
    pages[8]!.dirty = true
    resident.changed(pages[8]!)
    expect(resident.isMostlyDirty).toBe(true)
    resident.release(pages[0]!)
    expect(resident.isMostlyDirty).toBe(false)
  })
})

describe('the pages of a file', () => {
  it('the pages of a file are found by range, whichever of the range and the file has more pages', () => {
    const space = new AddressSpacePages({ file: 1, path: '/f', pageSize: PAGE }, createSlabFrameProvider(16 * PAGE))
    for (const index of [9, 2, 4]) space.getOrCreate(index)
    const between = (first: number, last: number) => space.between(first, last + 1).map((page) => page.index)
    expect(between(2, 4)).toEqual([2, 4])
    expect(between(3, 3)).toEqual([])
    expect(between(0, 2 ** 52).toSorted((a, b) => a - b)).toEqual([2, 4, 9])
  })
})
