/** Copies that clients have dropped (docs/coherence.md, Dropped copies). */
import { describe, expect, it } from 'vitest'
import { DirectoryWorld } from './support/directory-world.js'

const pages = (world: DirectoryWorld): number => world.directory.stats().pages

function drop(world: DirectoryWorld, session: number, file: number, page: number, count = 1): void {
  world.tell(session, { type: 'dropped', file, runs: [{ page, count }] })
}

describe('dropped copies', () => {
  it('the directory forgets a page when the last session has dropped its copy, and asks nobody for it', () => {
    const world = new DirectoryWorld()
    const [file, [a, b, c]] = world.sharedFile(3) as [number, [number, number, number]]
    for (const page of [0, 1, 2]) for (const session of [a, b]) world.acquire(session, file, page, 'read')
    expect(pages(world)).toBe(3)
    drop(world, a, file, 0, 3)
    expect(pages(world)).toBe(3)
    drop(world, b, file, 1, 2)
    expect(pages(world)).toBe(1)
    world.fault(c, file, 0, 'write')
    expect([world.all(a, 'invalidate').length, world.all(b, 'invalidate').length]).toEqual([0, 1])
    world.fault(c, file, 1, 'write')
    expect(world.all(b, 'invalidate').length).toBe(1)
  })

  it('a dropped copy of one session leaves those of others', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2) as [number, [number, number]]
    world.acquire(a, file, 0, 'read')
    drop(world, b, file, 0)
    world.fault(b, file, 0, 'write')
    expect(world.all(a, 'invalidate').length).toBe(1)
  })

  it('an owner that has dropped its page stays on record, and is asked for it', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2) as [number, [number, number]]
    world.acquire(a, file, 0, 'write')
    drop(world, a, file, 0)
    expect(pages(world)).toBe(0)
    expect(world.machine.owner(file, 0).session).toBe(a)
    const req = world.fault(b, file, 0, 'read')
    expect(world.last(a, 'downgrade')).toMatchObject({ page: 0, after: 0 })
    world.answer(a, 'downgrade')
    expect(world.granted(b, req)).toBeDefined()
  })

  it('an operation that is under way still waits for the session that says that it has dropped its copy', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2) as [number, [number, number]]
    world.acquire(a, file, 0, 'read')
    const req = world.fault(b, file, 0, 'write')
    drop(world, a, file, 0)
    world.commit()
    expect(world.granted(b, req)).toBeUndefined()
    world.answer(a, 'invalidate')
    expect(world.granted(b, req)).toBeDefined()
  })

  it('a copy that is granted after the message counts', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2) as [number, [number, number]]
    world.acquire(a, file, 0, 'read')
    drop(world, a, file, 0)
    world.acquire(a, file, 0, 'read')
    world.fault(b, file, 0, 'write')
    expect(world.all(a, 'invalidate').length).toBe(1)
  })

  it('a page of which the directory knows nothing, and one beyond the end of the file, change nothing', () => {
    const world = new DirectoryWorld()
    const [file, [a]] = world.sharedFile(1) as [number, [number]]
    drop(world, a, file, 0, 200)
    drop(world, a, file + 1000, 0)
    expect(pages(world)).toBe(0)
  })

  it('inheritors of a page whose entry has gone are asked again', () => {
    const world = new DirectoryWorld()
    const [file, [a, b]] = world.sharedFile(2) as [number, [number, number]]
    world.elect()
    for (const session of [a, b]) world.connect(session)
    world.fault(a, file, 0, 'write')
    world.answer(b, 'invalidate')
    world.commit()
    drop(world, a, file, 0)
    expect(pages(world)).toBe(0)
    world.fault(a, file, 0, 'write')
    expect(world.all(b, 'invalidate').length).toBe(1)
  })

  it('a file that is owned as a whole keeps its entry while its owner drops single pages', () => {
    const world = new DirectoryWorld()
    const [file, [a]] = world.sharedFile(1, { unit: 'file' }) as [number, [number]]
    world.acquire(a, file, 0, 'write')
    drop(world, a, file, 0)
    expect(pages(world)).toBe(1)
  })
})
