/** Prints the clock of this process and the machine's, from the closest of many pairs of readings. */
import { createClock } from '../../dist/index.js'

const clock = createClock()
let closest = { gapMs: Infinity }
for (let count = 0; count < 10_000; count++) {
  const before = clock.now()
  const machineMs = Number(process.hrtime.bigint()) / 1e6
  const gapMs = clock.now() - before
  if (gapMs < closest.gapMs) closest = { gapMs, own: before, machineMs }
}
console.log(closest.own, closest.machineMs)
