import { FakeClock } from '@quire/testing'
import { describe, expect, it } from 'vitest'
import { lackOfDescriptors, watchDescriptors } from '../src/peer/descriptor-watch.js'

describe('the watch over file descriptors', () => {
  it('the watch over file descriptors reports a lasting lack once, and its end once', async () => {
    const clock = new FakeClock()
    const changes: (string | undefined)[] = []
    let code: string | undefined
    const watch = watchDescriptors({ clock, lack: () => code, onChange: (change) => changes.push(change) })
    await clock.advance(10_000)
    code = 'EMFILE'
    await clock.advance(2_000)
    code = undefined
    await clock.advance(10_000)
    expect(changes).toEqual([])
    code = 'ENFILE'
    await clock.advance(60_000)
    expect(changes).toEqual(['ENFILE'])
    code = undefined
    await clock.advance(60_000)
    expect(changes).toEqual(['ENFILE', undefined])
    watch.stop()
    code = 'EMFILE'
    await clock.advance(60_000)
    expect(changes).toHaveLength(2)
  })

  it('the watch over file descriptors finds no lack in a process that can open files', () => {
    expect(lackOfDescriptors()).toBeUndefined()
  })
})
