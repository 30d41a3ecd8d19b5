// A client that writes, flushes and reads one number after the other, for as long as it runs.
//   argv: the path of the file, the multiaddrs of peers
// Prints a line of JSON for each line on standard input: the rounds so far, the errors, the session, the leaders
// since the client connected, and the path to the leader. The line "close" closes the client first.
import { createInterface } from 'node:readline'
import { createDsmClient } from '@quire/dsm-client'

const [path, ...peers] = process.argv.slice(2)
const client = await createDsmClient({ peers })
const file = await client.open(path, { create: true, size: 65_536 })
const errors = []
const leaders = []
client.addEventListener('leaderchange', ({ detail }) => leaders.push(detail.leader))
let rounds = 0
let isClosing = false

async function work() {
  while (!isClosing) {
    const at = (rounds % 16) * 4096
    const bytes = new Uint8Array(8)
    new DataView(bytes.buffer).setFloat64(0, rounds + 1)
    try {
      await file.write(at, bytes)
      await file.sync()
      const copy = await file.read(at, 8)
      if (Buffer.compare(copy, bytes) !== 0)
        throw new Error(`round ${rounds} reads ${Buffer.from(copy).toString('hex')}`)
      rounds++
    } catch (error) {
      errors.push(String(error))
    }
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

const working = work()
for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'close') {
    isClosing = true
    await working
    await client.close()
  }
  const { path: way, relay } = client.stats()
  process.stdout.write(`${JSON.stringify({ rounds, errors, ...client.session, leaders, path: way, relay })}\n`)
  if (line === 'close') break
}
