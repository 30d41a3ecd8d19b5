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

  it.each(BROKEN_BUILDS)('a loss of power shows that $name', async (build) => {
    const peer = await PowerPeer.found(power.shim, [build])
    onTestFinished(() => peer.kill())
    expect(await firstHarm(peer, 'everything', [1, 2, 3])).toMatch(LOSS)
  })
})
