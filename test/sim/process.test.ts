import { createRandomSource } from '@quire/testing'
import { describe, expect, it } from 'vitest'
import { SimProcess } from './src/process.js'
import { Scheduler } from './src/scheduler.js'

describe('stalls of a simulated process', () => {
  it('a process that was stalled is awake once it has handled everything that arrived during the stall (raft seed 2026601545)', async () => {
    const scheduler = new Scheduler(false)
    const process = new SimProcess('n1', scheduler, createRandomSource(1), 1)
    const wasAwake: boolean[] = []
    process.stall(10)
    for (const label of ['first', 'second']) {
      process.enter('io', label, () => wasAwake.push(process.isAwake))
    }
    expect(process.isAwake).toBe(false)
    await scheduler.run(20)
    expect(wasAwake).toEqual([false, true])
    expect(process.isAwake).toBe(true)
  })
})
