// A client in a thread of its own, whose program computes without a turn of its event loop: until another client has
// written to page 0, and for four times to live at least. It holds a pin on page 1 and counts in page 2 meanwhile.
import { createDsmClient } from '@quire/dsm-client'

const PAGE = 4096
const [path, ttlMs, ...peers] = process.argv.slice(2)
const client = await createDsmClient({ peers, sessionTtlMs: Number(ttlMs), thread: true })
const file = await client.open(path)
const mapping = await file.mmap()
await mapping.write(0, new Uint8Array([1]))
await mapping.write(2 * PAGE, new Uint8Array(4))
const pin = await mapping.pin(PAGE, PAGE, 'write')
const counter = new Uint8Array(4)
const words = new DataView(counter.buffer)
const byte = new Uint8Array(1)
const { session } = client
process.stdout.write('computing\n')

const until = performance.now() + 4 * Number(ttlMs)
let count = 0
let wanted = false
let isHere = true
while (isHere || performance.now() < until) {
  isHere = mapping.tryRead(0, byte)
  pin.bytes[count % PAGE] = 7
  if (mapping.tryRead(2 * PAGE, counter) && words.getUint32(0) === count) {
    words.setUint32(0, count + 1)
    if (mapping.tryWrite(2 * PAGE, counter)) count++
  }
  wanted ||= pin.wanted
}

const state = client.session.state
const isSame = client.session.id === session.id
pin.release()
await mapping.msync()
const last = await mapping.read(2 * PAGE, 4)
const counted = new DataView(last.buffer).getUint32(0)
process.stdout.write(JSON.stringify({ state, isSame, count, counted, wanted, ended: pin.lost.aborted }) + '\n')
await client.close()
