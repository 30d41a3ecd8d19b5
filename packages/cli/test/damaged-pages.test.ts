/** The command `quire peer` on a data directory with a damaged pages.lmdb. */
import { CorruptionError, createDsmClient } from '@quire/dsm-client'
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

  it('the only peer of a cluster goes on if a page is damaged, logs it, and its readers get a CorruptionError', async () => {
    const { path, args, address, ended } = await makePeer()
    const bytes = await readFile(path)
    const at = bytes.indexOf(filled(20).subarray(0, 256))
    expect(at).toBeGreaterThan(0)
    await overwrite(path, at + 100, ones(8))
    const peer = startQuire(args)
    try {
      await vi.waitFor(() => expect(peer.stdout).toContain('/p2p/'), { timeout: 20_000 })
      await using client = await createDsmClient({ peers: [address] })
      const file = await client.open('/kept')
      const error = await file.read(20 * PAGE, 4).catch((reason: unknown) => reason)
      expect(error).toBeInstanceOf(CorruptionError)
      expect((error as Error).message).toMatch(/^page 20 of file \d+: damaged: no peer has a good copy$/)
      expect(await file.read(19 * PAGE, PAGE)).toEqual(filled(19))
      // Something else may take its place.
      await file.punchHole(20 * PAGE, PAGE)
      expect(await file.read(20 * PAGE, PAGE)).toEqual(filled(0))
      expect(peer.child.exitCode).toBeNull()
    } finally {
      await ended(peer)
    }
    const errors = peer.stderr
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { level: number; msg: string; page?: number })
      .filter(({ level }) => level >= 50)
    expect(errors.map(({ msg, page }) => `${page}: ${msg}`)).toEqual([
      '20: a page is damaged: asking other peers for it',
      '20: no peer has a good copy of a damaged page'
    ])
  }, 40_000)
})
