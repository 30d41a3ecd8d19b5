import { describe, expect, it } from 'vitest'
import { startCluster } from './support/cluster.js'

const PAGE = 65_536
const PAGES = 300

describe('pages of the largest size', () => {
  it('pages of the largest size change owners by the hundred without breaking the connection that carries their bytes', async () => {
    await using cluster = await startCluster()
    const [writer, reader] = [await cluster.client(), await cluster.client()]
    const options = { create: true, size: PAGES * PAGE, pageSize: PAGE }
    const from = await (await writer.open('/large', options)).mmap()
    const to = await (await reader.open('/large')).mmap()
    let connections = 0
    writer.addEventListener('leaderchange', () => connections++)
    for (let page = 0; page < PAGES; page++) await from.write(page * PAGE, new Uint8Array(PAGE).fill(page % 251))

    // Nothing is flushed, so the owner is asked for all pages at once.
    const bytes = await to.read(0, PAGES * PAGE)
    for (let page = 0; page < PAGES; page++) expect(bytes[page * PAGE + 1]).toBe(page % 251)
    expect(writer.stats().downgrades).toBeGreaterThan(PAGES / 2)
    await to.write(0, new Uint8Array(PAGES * PAGE).fill(255))
    expect((await from.read(PAGE, 1))[0]).toBe(255)
    expect(connections).toBe(0)
  })
})
