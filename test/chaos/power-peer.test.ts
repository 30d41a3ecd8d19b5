import { readFile } from 'node:fs/promises'
import { describe, expect, it, onTestFinished } from 'vitest'
import { BRISK, BROKEN_BUILDS } from './src/power/broken-builds.js'
import { firstHarm, LOSS, PowerPeer } from './power-peer.js'
import { noPower, unlessNoPower, useShim } from './power-support.js'

const power = useShim()

describe.skipIf(noPower)(`a real peer whose machine loses power${unlessNoPower}`, { timeout: 120_000 }, () => {
  it('a peer that loses power in the middle of writes still has each acknowledged write', async () => {
    const peer = await PowerPeer.found(power.shim)
    onTestFinished(() => peer.kill())
    expect(await firstHarm(peer, 'everything', [1])).toBeUndefined()
  })

  it('a peer that acknowledges entries before a flush loses them with the power', async () => {
    const peer = await PowerPeer.found(power.shim, [BROKEN_BUILDS[0]!])
    onTestFinished(() => peer.kill())
    expect(await firstHarm(peer, 'everything', [1])).toMatch(LOSS)
  })
})

describe('the broken builds of a peer', () => {
  it('each patch fits exactly one place in the built packages', async () => {
    for (const { file, find } of [...BRISK, ...BROKEN_BUILDS]) {
      const source = await readFile(new URL(`../../packages/${file}`, import.meta.url), 'utf8')
      expect(source.split(find).length - 1, file).toBe(1)
    }
  })
})
