/** The command `quire` with a low limit of open files. */
import { RESERVED_DESCRIPTORS } from '@quire/store/internal/cli'
import { once } from 'node:events'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { INIT, keygen, quire, startQuire, testFolder } from './support/quire.js'

const SLOW = 40_000

describe('quire with few file descriptors', () => {
  async function prepare(): Promise<string[]> {
    const root = testFolder()
    const key = join(root, 'key')
    const peerId = await keygen(key)
    const cluster = join(root, 'cluster.json')
    const voter = `/ip4/127.0.0.1/tcp/4001/p2p/${peerId}`
    await quire([...INIT, '--out', cluster, '--clients', 'any', '--voters', voter])
    const listen = '/ip4/127.0.0.1/tcp/0'
    return ['peer', '--data-dir', join(root, 'data'), '--key', key, '--listen', listen, '--cluster', cluster]
  }

  it(
    'quire refuses to start below the lowest limit of open files, in one line',
    async () => {
      for (const args of [await prepare(), ['--help']]) {
        for (const maxOpenFiles of [40, 128, 255]) {
          const { status, stdout, stderr } = await quire(args, { maxOpenFiles })
          expect([status, stdout]).toEqual([1, ''])
          const expected = `quire: the limit of open files is ${maxOpenFiles}, quire needs 256 at least: raise it (ulimit -n)\n`
          expect(stderr).toBe(expected)
        }
      }
    },
    SLOW
  )

  it(
    'quire peer says at its start that a low limit of open files makes it accept fewer connections',
    async () => {
      const peer = startQuire([...(await prepare()), '--log-level', 'warn'], { maxOpenFiles: 256 })
      const exited = once(peer.child, 'exit')
      await vi.waitFor(() => expect(peer.stdout).toContain('/p2p/'), { timeout: 20_000, interval: 50 })
      peer.child.kill('SIGTERM')
      await exited
      const warning = peer.stderr.split('\n').find((line) => line.includes('open files'))
      const { limit, open, maxConnections } = JSON.parse(warning!) as Record<string, number>
      expect(limit).toBe(256)
      expect(maxConnections! + open!).toBeLessThan(256 - RESERVED_DESCRIPTORS)
    },
    SLOW
  )
})
