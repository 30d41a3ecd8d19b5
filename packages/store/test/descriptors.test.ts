import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { descriptors, limitConnections, RESERVED_DESCRIPTORS } from '../src/peer/descriptors.js'
import { quire, startQuire } from '../../cli/test/support/quire.js'

const WANTED = { maxConnections: 2048, maxPendingConnections: 256 }

describe('limits of connections', () => {
  it('leave the reserve free, whatever the limit of open files is', () => {
    for (let limit = 100; limit < 4000; limit += 7) {
      const { maxConnections, maxPendingConnections } = limitConnections({ limit, open: 20 }, WANTED)
      expect(20 + maxConnections + maxPendingConnections + RESERVED_DESCRIPTORS).toBeLessThanOrEqual(limit)
      expect(maxPendingConnections).toBeGreaterThanOrEqual(4)
      expect(maxConnections).toBeGreaterThanOrEqual(12)
    }
  })

  it('are the wanted ones if there is room or no limit', () => {
    expect(limitConnections({ limit: 65_536, open: 20 }, WANTED)).toEqual(WANTED)
    expect(limitConnections({ limit: Infinity, open: 20 }, WANTED)).toEqual(WANTED)
  })

  it('are refused if a peer has no room: the error names both numbers', () => {
    expect(() => limitConnections({ limit: 64, open: 20 }, WANTED)).toThrow(
      'the limit of open files is 64, a peer needs 100 at least: raise it (ulimit -n)'
    )
  })

  it('follow the limit of this process', () => {
    const { limit, open } = descriptors()
    expect(limit).toBeGreaterThan(open)
    const held = Array.from({ length: 10 }, () => openSync('/dev/null', 'r'))
    expect(descriptors()).toEqual({ limit, open: open + 10 })
    for (const fd of held) closeSync(fd)
    expect(descriptors()).toEqual({ limit, open })
  })
})

describe('the command with few file descriptors', () => {
  let root: string
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'quire-descriptors-'))
  })
  afterEach(() => {
    rmSync(root, { recursive: true, force: true })
  })

  async function prepare(): Promise<string[]> {
    const key = join(root, 'key')
    const peerId = (await quire(['keygen', key])).stdout.trim()
    const cluster = join(root, 'cluster.json')
    const voter = `/ip4/127.0.0.1/tcp/4001/p2p/${peerId}`
    await quire(['init', '--out', cluster, '--clients', 'any', '--voters', voter])
    const listen = '/ip4/127.0.0.1/tcp/0'
    return ['peer', '--data-dir', join(root, 'data'), '--key', key, '--listen', listen, '--cluster', cluster]
  }

  it('is refused in one line below the lowest limit', async () => {
    for (const args of [await prepare(), ['--help']]) {
      for (const maxOpenFiles of [40, 128, 255]) {
        const { status, stdout, stderr } = await quire(args, { maxOpenFiles })
        expect([status, stdout]).toEqual([1, ''])
        const expected = `quire: the limit of open files is ${maxOpenFiles}, quire needs 256 at least: raise it (ulimit -n)\n`
        expect(stderr).toBe(expected)
      }
    }
  }, 20_000)

  it('says at its start that it accepts fewer connections', async () => {
    const peer = startQuire([...(await prepare()), '--log-level', 'warn'], { maxOpenFiles: 256 })
    const exited = once(peer.child, 'exit')
    await vi.waitFor(() => expect(peer.stdout).toContain('/p2p/'), { timeout: 10_000, interval: 20 })
    peer.child.kill('SIGTERM')
    await exited
    const warning = peer.stderr.split('\n').find((line) => line.includes('open files'))
    const { limit, open, maxConnections } = JSON.parse(warning!) as Record<string, number>
    expect(limit).toBe(256)
    expect(maxConnections! + open!).toBeLessThan(256 - RESERVED_DESCRIPTORS)
  })
})
