// Applies the log in argv[3] (one line of base64 for each entry) to the store in argv[2], with a checkpoint every 20
// entries. Prints each durable index. Closes nothing, because the parent kills this process.
import { readFileSync } from 'node:fs'
import { createApplier, createLmdbBackend, createPageStore } from '../dist/pages/index.js'

const clock = { now: () => performance.now(), wallTime: () => 0, schedule: () => () => undefined }
const applier = createApplier({
  store: createPageStore({ backend: createLmdbBackend({ path: process.argv[2] }) }),
  clock
})
const lines = readFileSync(process.argv[3], 'utf8').trim().split('\n')
for (const [at, line] of lines.entries()) {
  void applier.apply([{ index: at + 1, term: 1, kind: 'normal', data: Buffer.from(line, 'base64') }])
  if (at % 20 !== 0) continue
  await applier.checkpoint()
  process.stdout.write(`${applier.durableIndex}\n`)
}
