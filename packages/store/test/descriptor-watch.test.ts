import { describe, expect, it } from 'vitest'
import { VirtualClock } from '../../raft/test/support/virtual-time.js'
import { lackOfDescriptors, watchDescriptors } from '../src/peer/descriptor-watch.js'

describe('the watch over file descriptors', () => {
  it('reports a lack that lasts, once, and its end, once', async () => {
    const clock = new VirtualClock()
    const changes: (string | undefined)[] = []
    let code: string | undefined
    const watch = watchDescriptors({ clock, lack: () => code, onChange: (change) => changes.push(change) })
    await clock.run(10_000)
    code = 'EMFILE'
    await clock.run(2_000)
    code = undefined
    await clock.run(10_000)
    expect(changes).toEqual([])
    code = 'ENFILE'
    await clock.run(60_000)
    expect(changes).toEqual(['ENFILE'])
    code = undefined
    await clock.run(60_000)
    expect(changes).toEqual(['ENFILE', undefined])
    watch.stop()
    code = 'EMFILE'
    await clock.run(60_000)
    expect(changes).toHaveLength(2)
  })

  it('finds none in a process that can open files', () => {
    expect(lackOfDescriptors()).toBeUndefined()
  })
})
