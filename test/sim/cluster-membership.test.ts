import { describe, it } from 'vitest'
import { expectSound } from './cluster-support.js'

/** Seeds of the mix `membership` that have failed once. Each draws what it needs as long as the mix does not change. */
describe('members of a simulated cluster that change', { timeout: 60_000 }, () => {
  it('a client returns to a peer that it met before the peer had applied anything (seed 1128700195)', async () => {
    await expectSound(1128700195, 1)
  })

  it('a voter that is replaced keeps its links while it counts and another voter is away (seed 1128704115)', async () => {
    await expectSound(1128704115, 1)
  })

  it('a command that is repeated is answered when the change is committed (seed 1128700427)', async () => {
    await expectSound(1128700427, 1)
  })

  it('an admin may add a peer again whose new folder was to replace its lost one (seed 32001200)', async () => {
    await expectSound(32001200, 1)
  })

  it('a leader answers that a change is in force only if a majority confirms that it leads (seed 50010048)', async () => {
    await expectSound(50010048, 1)
  })
})
