/** The command `quire peer` on a data directory with a damaged pages.lmdb. */
import { createDsmClient } from '@quire/dsm-client'
import { generatePrivateKey, peerIdFromKey, savePrivateKey } from '@quire/net'
import { createPeer } from '@quire/store'
import { once } from 'node:events'
import { readFile, rename, stat, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { overwrite, ones, DAMAGES, expectRefusal } from '../../store/test/support/lmdb-damage.js'
import { quire, startQuire, type Running, testFolder } from './support/quire.js'

const PAGE = 4096
const filled = (value: number): Uint8Array => new Uint8Array(PAGE).fill(value)

interface MadePeer {
  /** The path of its pages.lmdb. */
  readonly path: string
  readonly args: string[]
  readonly address: string
  readonly ended: (running: Running) => Promise<void>
}

/** Stores a file in a peer and stops the peer. */
async function makePeer(): Promise<MadePeer> {
  const key = await generatePrivateKey()
  const folder = testFolder()
  const dataDir = join(folder, 'data')
  await savePrivateKey(join(folder, 'key'), key)
  const voters = [{ peerId: peerIdFromKey(key), addresses: ['/ip4/127.0.0.1/tcp/1'] }]
  const cluster = { clusterId: 'blue', voters, admins: [], clients: 'any' as const }
  const peer = await createPeer({ dataDir, privateKey: key, listen: ['/ip4/127.0.0.1/tcp/0'], cluster })
  const [address] = peer.multiaddrs
  const client = await createDsmClient({ peers: [address!] })
  const file = await client.open('/kept', { create: true, size: 64 * PAGE })
  await file.write(0, new TextEncoder().encode('kept'))
  for (let page = 1; page < 64; page++) await file.write(page * PAGE, filled(page))
  await file.sync()
  await client.close()
  await peer.close()
  return {
    path: join(dataDir, 'pages', 'pages.lmdb'),
    args: ['peer', '--data-dir', dataDir, '--key', join(folder, 'key'), '--listen', '/ip4/127.0.0.1/tcp/0'],
    address: address!,
    ended: async ({ child }) => {
      const exited = once(child, 'exit')
      child.kill('SIGKILL')
      await exited
    }
  }
}

describe('quire peer on a damaged pages.lmdb', () => {
  it.each(['cut to 5,000 bytes', 'cut to half', 'with an early page overwritten', 'with both meta pages broken'])(
    'quire peer ends with status 1 and one line for a file %s',
    async (kind) => {
      const { path, args } = await makePeer()
      const [break_, reason] = DAMAGES[kind]!
      await break_(path, (await stat(path)).size)
      const { status, stdout, stderr } = await quire(args)
      expect({ status, stdout }).toEqual({ status: 1, stdout: '' })
      expect(stderr.trimEnd().split('\n')).toHaveLength(1)
      expectRefusal(stderr.trimEnd(), path, reason)
    },
    20_000
  )

  it('a peer rebuilds its pages from the log after the damaged file is moved away', async () => {
    const { path, args, address, ended } = await makePeer()
    await truncate(path, 5000)
    const refused = await quire(args)
    expect(refused.status).toBe(1)
    await rename(path, `${path}.damaged`)
    const peer = startQuire(args)
    try {
      await vi.waitFor(() => expect(peer.stdout).toContain('/p2p/'), { timeout: 20_000 })
      await using client = await createDsmClient({ peers: [address] })
      expect(await (await client.open('/kept')).read(0, 4)).toEqual(new TextEncoder().encode('kept'))
    } finally {
      await ended(peer)
    }
  })

  it('quire peer that reads a damaged page logs it once, and ends with status 1 and one line that names file, page and remedy', async () => {
    const { path, args, address, ended } = await makePeer()
    const bytes = await readFile(path)
    const at = bytes.indexOf(filled(20).subarray(0, 256))
    expect(at).toBeGreaterThan(0)
    await overwrite(path, at + 100, ones(8))
    const peer = startQuire(args)
    try {
      await vi.waitFor(() => expect(peer.stdout).toContain('/p2p/'), { timeout: 20_000 })
      const client = await createDsmClient({ peers: [address], faultTimeoutMs: 5000 })
      const exited = once(peer.child, 'exit')
      const reading = (await client.open('/kept')).read(20 * PAGE, 4).catch(() => {})
      await exited
      await client.close({ signal: AbortSignal.timeout(100) }).catch(() => {})
      await reading
    } finally {
      if (peer.child.exitCode === null) await ended(peer)
    }
    expect(peer.child.exitCode).toBe(1)
    const lines = peer.stderr.trimEnd().split('\n')
    expectRefusal(lines.at(-1)!, path, /: damaged: page 20 of file \d+: the checksum of the page does not match; move/)
    const logged = lines.slice(0, -1).map((line) => JSON.parse(line) as { level: number })
    expect(logged.filter(({ level }) => level >= 50)).toHaveLength(1)
  }, 40_000)
})
