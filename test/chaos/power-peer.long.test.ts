import { createRandomSource } from '@quire/testing'
import { describe, expect, it, onTestFinished } from 'vitest'
import { BROKEN_BUILDS } from './src/power/broken-builds.js'
import { firstHarm, LOSS, PowerPeer } from './power-peer.js'
import { noPower, unlessNoPower, useShim } from './power-support.js'

const power = useShim()

describe.skipIf(noPower)(`a real peer whose machine loses power again and again${unlessNoPower}`, () => {
  it.each(['everything', 'random'] as const)('a peer keeps each acknowledged write: it loses %s', async (lose) => {
    const peer = await PowerPeer.found(power.shim)
    onTestFinished(() => peer.kill())
    const seeds = Array.from({ length: 8 }, (_, at) => at + 1)
    expect(await firstHarm(peer, lose, seeds)).toBeUndefined()
  })

  it('a peer that loses power at any moment of its first start can be started again', async () => {
    const random = createRandomSource(1)
    for (let seed = 1; seed <= 12; seed++) {
      const peer = await PowerPeer.found(power.shim)
      onTestFinished(() => peer.kill())
      // A first start writes about 50,000 bytes to the journal, most of them at its end.
      await peer.startUntilJournal(random.pick([200, 500, 900, 1500, 2500, 4000, 8000, 20_000, 30_000]))
      peer.machine.lose('random', seed)
      expect(await peer.start(), `seed ${seed}`).toBeUndefined()
      await peer.kill()
    }
  })

  it.each(BROKEN_BUILDS)('a loss of power shows that $name', async (build) => {
    const peer = await PowerPeer.found(power.shim, [build])
    onTestFinished(() => peer.kill())
    expect(await firstHarm(peer, 'everything', [1, 2, 3])).toMatch(LOSS)
  })

  it.each(BROKEN_BUILDS)('the end of the process alone does not show that $name', async (build) => {
    const peer = await PowerPeer.found(power.shim, [build])
    onTestFinished(() => peer.kill())
    expect(await firstHarm(peer, 'nothing', [1])).toBeUndefined()
  })
})
