/**
 * What the cluster simulation found. A seed stands for it only as long as the simulator draws the same numbers; those that name their mutant are the
 * first that catches it, the others were the first that met the bug. The rules themselves are tested where they are kept (packages/dsm-client/test).
 */
import { describe, it } from 'vitest'
import { expectSound } from './cluster-support.js'

// Virtual time: how long a seed takes is up to the processor alone.
describe('the cluster simulation has found', { timeout: 60_000 }, () => {
  it('seed 550: a write that a truncation overtook wrote its first page a second time, over what others had written since (a write that begins again writes its pages twice)', async () => {
    await expectSound(550, 1)
  })

  it('seed 936: a grant overtook the end of a discard, which then dropped what was written (a grant that overtakes the end of a discard goes with it)', async () => {
    await expectSound(936, 1)
  })

  it('seed 2230: a flush of many pages failed when its time was up, although one page after the other was made durable', async () => {
    await expectSound(2230, 1)
  })

  it('seed 3651: a pin began again in a file that the lost session had just taken away', async () => {
    await expectSound(3651, 1)
  })

  it('seed 4767: the history told of a hole that was cut short in the middle as if all of it had been so short', async () => {
    await expectSound(4767, 1)
  })

  it('seed 3088: pages of a client that had slept past its lease were held against what others had written since', async () => {
    await expectSound(3088, 1)
  })

  it('seed 85: a pin waited for frames in a row where private copies left no such place', async () => {
    await expectSound(85, 1)
  })

  it('seed 217: a file that could not be truncated when it was opened stayed open for nobody', async () => {
    await expectSound(217, 1)
  })

  it('seed 777002881: a pin waited for ever for room that only its own pages occupied', async () => {
    await expectSound(777002881, 1)
  })

  it('seed 7700238: a pin that waited for itself was given twice its time, because another page had come in the first half', async () => {
    await expectSound(7700238, 1)
  })

  it('seed 1128300914: no bug; a frame that a slow link has when faults stop arrives seconds later, and all calls behind it wait', async () => {
    await expectSound(1128300914, 1)
  })

  it('seed 1128310228: no bug; frames that were on the way when a link was cut came behind those that waited for its end', async () => {
    await expectSound(1128310228, 1)
  })

  it('seed 1128310902: no bug; far apart, programs that wait for others of their client looked again too often', async () => {
    await expectSound(1128310902, 1)
  })

  it('seed 1128330539: no bug; a frame that a cut link had delayed came behind frames that were on the way already', async () => {
    await expectSound(1128330539, 1)
  })

  it('seed 450: a new leader held a writeback of a whole file back, passed a later one on, and then dropped the bytes of the first', async () => {
    await expectSound(450, 1)
  })

  it('seed 1128500469: a client on a thin line sent nothing more, because what the leader could not commit yet counted as on the line', async () => {
    await expectSound(1128500469, 1)
  })

  it('seed 1128500026: no bug; a program that pins a page twice liveness for itself while others want the page, and they wait with it', async () => {
    await expectSound(1128500026, 1)
  })

  it('seed 1128510192: no bug; a copy of a folder may hold entries that were written while its peer was being stopped, or when it crashed', async () => {
    await expectSound(1128510192, 1)
  })

  it('seed 1128511203: no bug; an empty folder replaces one that never took part, which is refused from then on', async () => {
    await expectSound(1128511203, 1)
  })
})
