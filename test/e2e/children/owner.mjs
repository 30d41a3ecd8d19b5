// A client that owns a page: flushes 1, writes 2 without flushing it, says so, and holds on until it is killed.
import { createDsmClient } from '@quire/dsm-client'

const [path, ttlMs, ...peers] = process.argv.slice(2)
const client = await createDsmClient({ peers, sessionTtlMs: Number(ttlMs) })
const file = await client.open(path)
const mapping = await file.mmap()
await mapping.write(0, new Uint8Array([1]))
await mapping.msync()
await mapping.write(0, new Uint8Array([2]))
process.stdout.write('owned\n')
process.stdin.on('end', () => process.exit(1)).resume()
