/** Rounds of faults, when one fails. */
import { createRandomSource } from '@quire/testing'
import { expect, it } from 'vitest'
import type { Fault, World } from './src/faults/fault.js'
import { makeTrouble } from './src/nemesis.js'
import { Timeline } from './src/timeline.js'

function fault(name: string, lane: Fault['lane'], make: Fault['make']): Fault {
  return { kind: 'kill', name, lane, perMinute: 1, needs: undefined, make }
}

it('a fault that fails ends the round when the other lane has ended its fault, which begins no further one', async () => {
  let end = (): void => {}
  const ended = new Promise<void>((resolve) => (end = resolve))
  let fail = (): void => {}
  const failing = fault('fails', 'lines', async () => {
    await new Promise<void>((resolve) => (fail = resolve))
    throw new Error('no such line')
  })
  const slow = fault('slow', 'processes', async (_world, begins) => {
    begins('peer1')
    await ended
  })
  const next = fault('next', 'processes', (_world, begins) => Promise.resolve(begins('peer2')))
  let healed = 0
  const heal = (): Promise<void> => Promise.resolve(void healed++)
  const world = { clients: [], cluster: { heal }, pause: () => Promise.resolve() } as unknown as World
  const timeline = new Timeline()
  const init = { world, timeline, random: createRandomSource(1), roundMs: 0, progress: heal, log: () => {} }
  let isOver = false
  const making = makeTrouble([{ processes: [slow, next], lines: [failing] }], init).finally(() => (isOver = true))
  making.catch(() => {})
  await expect.poll(() => timeline.faults.length).toBe(1)
  fail()
  // The failure has had every chance to end the round.
  await new Promise((resolve) => setImmediate(resolve))
  expect(isOver).toBe(false)
  end()
  await expect(making).rejects.toThrow('fails: no such line')
  expect(timeline.faults.map(({ what }) => what)).toEqual(['peer1'])
  expect(healed).toBe(0)
})
