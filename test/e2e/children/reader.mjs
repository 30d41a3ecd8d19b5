// A client that reads one byte again and again, and remembers when it last read each value. Any line on standard input
// makes it say so.
import { createDsmClient } from '@quire/dsm-client'

const [path, ttlMs, ...peers] = process.argv.slice(2)
const client = await createDsmClient({ peers, sessionTtlMs: Number(ttlMs) })
let mapping = await (await client.open(path)).mmap()
/**
 * By value: when the last read that returned it was called, on the machine's monotonic clock, in nanoseconds. Not when
 * it returned: the process may be stopped between the read's last look at its lease and any clock, and a read that was
 * called before a write returned may give what was there before.
 */
const lastRead = {}
const errors = []
let reads = 0

process.stdin.on('data', () => process.stdout.write(`${JSON.stringify({ lastRead, errors, reads })}\n`))
process.stdin.on('end', () => process.exit(1))

for (let first = true; ; first = false) {
  try {
    const target = new Uint8Array(1)
    const called = process.hrtime.bigint()
    const wasRead = reads % 2 === 0 && mapping.tryRead(0, target)
    const [value] = wasRead ? target : await mapping.read(0, 1)
    lastRead[value] = String(called)
    reads++
  } catch (error) {
    errors.push({ name: error.name, lost: error.lost })
    mapping = await (await client.open(path)).mmap()
  }
  if (first) process.stdout.write('reading\n')
  // Most of the time in the middle of a read, whenever the process is stopped.
  if (reads % 50 === 0) await new Promise((resolve) => setImmediate(resolve))
}
