import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { quire } from '../../packages/cli/test/support/quire.js'
import { startCluster, until, type PeerProcess, type TestCluster } from './support/cluster.js'

const PAGE = 4096
const PAGES = 64
/** Bytes that occur nowhere else, so that a page is found in the file of a peer. */
const MARK = Buffer.from('a page that will be damaged: ')

function pageOf(index: number): Buffer {
  return Buffer.alloc(PAGE, Buffer.concat([MARK, Buffer.from(`${index}.`)]))
}

/** Damages a byte in each of these pages, in the file that the peer has open. Returns how many it has found. */
async function damage({ dataDir }: PeerProcess): Promise<number> {
  const file = await open(join(dataDir, 'pages', 'pages.lmdb'), 'r+')
  try {
    const bytes = await file.readFile()
    let found = 0
    // Bodies begin where a page of LMDB, or the header of its first one, ends.
    for (let at = bytes.indexOf(MARK); at >= 0; at = bytes.indexOf(MARK, at + PAGE - MARK.length)) {
      await file.write(Buffer.from([0xff]), 0, 1, at + 100)
      found++
    }
    return found
  } finally {
    await file.close()
  }
}

async function repairsOf(cluster: TestCluster, peer: PeerProcess): Promise<{ repaired: number; lost: number }> {
  const { stdout } = await quire(['status', '--json', '--peers', peer.multiaddr])
  const lines = stdout.trim().split('\n')
  const statuses = lines.map((line) => JSON.parse(line) as { id: string; repairs: { repaired: number; lost: number } })
  return statuses.find(({ id }) => id === peer.peerId)!.repairs
}

async function filled(cluster: TestCluster): Promise<void> {
  const client = await cluster.client()
  await using file = await client.open('/rot', { create: true, size: PAGES * PAGE })
  const mapping = await file.mmap()
  for (let page = 0; page < PAGES; page++) await mapping.write(page * PAGE, pageOf(page))
  await mapping.msync()
  await client.close()
}

describe('bits that rot in the pages of a peer', () => {
  it('a client reads from a leader with damaged pages what it has written, because the leader asks other peers', async () => {
    await using cluster = await startCluster()
    await filled(cluster)
    const leader = await cluster.leader()
    await until(async () => (await damage(leader)) >= PAGES, 'a checkpoint of the pages')
    // The memtable answers until the checkpoint is complete.
    await until(async () => {
      const client = await cluster.client()
      const mapping = await (await client.open('/rot')).mmap()
      const bytes = await mapping.read(0, PAGES * PAGE)
      for (let page = 0; page < PAGES; page++) {
        expect(pageOf(page).equals(bytes.subarray(page * PAGE, (page + 1) * PAGE))).toBe(true)
      }
      await client.close()
      return (await repairsOf(cluster, leader)).repaired === PAGES
    }, 'the pages to be repaired')
    expect(await repairsOf(cluster, leader)).toMatchObject({ repaired: PAGES, lost: 0 })
  })
})
