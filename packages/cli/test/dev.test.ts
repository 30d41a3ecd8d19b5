/** `quire dev`: a cluster of processes on this machine, as a user runs it. */
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import { startDev, stopDev } from './support/dev.js'
import { keygen, isAlive, quire, quireEach, testFolder } from './support/quire.js'

const SLOW = 40_000
const waitMs = { timeout: 20_000, interval: 50 }

let root: string

beforeEach(() => {
  root = testFolder()
})

describe('quire dev', () => {
  it(
    'quire dev refuses a folder that holds anything but a cluster of its own, and writes nothing there',
    async () => {
      const [keys, data] = ['keys', 'data'].map((name) => join(root, name)) as [string, string]
      for (const [folder, name] of [
        [keys, 'peer.key'],
        [data, 'identity.json']
      ] as const) {
        mkdirSync(folder)
        writeFileSync(join(folder, name), '')
        expect(await quire(['dev', '--data-dir', folder])).toEqual({
          status: 1,
          stdout: '',
          stderr: `quire: ${folder}: not a folder of quire dev: it has ${name} but no admin.key\n`
        })
        expect(readdirSync(folder)).toEqual([name])
      }
    },
    SLOW
  )

  it(
    'quire dev starts a cluster that serves, and leaves nothing behind at SIGTERM',
    async () => {
      const dev = await startDev(root)
      try {
        expect(dev.peers).toHaveLength(3)
        for (const peer of dev.peers) expect(isAlive(peer.pid) && existsSync(peer.dataDir)).toBe(true)
      } finally {
        expect(await stopDev(dev)).toBe(0)
      }
      expect(dev.peers.filter((peer) => isAlive(peer.pid))).toEqual([])
      expect(readdirSync(root)).toEqual([])
      expect(dev.stderr).toBe('')
    },
    SLOW
  )

  it(
    'quire dev exits cleanly at Ctrl-C, which the terminal also sends to its peers',
    async () => {
      const dev = await startDev(root)
      const exited = once(dev.child, 'exit')
      for (const pid of [...dev.peers.map((peer) => peer.pid), dev.child.pid!]) process.kill(pid, 'SIGINT')
      await exited
      expect([dev.child.exitCode, dev.stderr]).toEqual([0, ''])
      expect(dev.peers.filter((peer) => isAlive(peer.pid))).toEqual([])
      expect(readdirSync(root)).toEqual([])
    },
    SLOW
  )

  it(
    'quire dev gives its peers the limits of their storage',
    async () => {
      const { status, stderr } = await quire(['dev', '--retained-log', '0', '--snapshot-rate', '1KiB'])
      expect([status, stderr]).toEqual([1, expect.stringContaining('--snapshot-rate is 1024, must be whole bytes')])
    },
    SLOW
  )

  it(
    'quire dev leaves neither peers nor files behind when it is killed',
    async () => {
      const dev = await startDev(root)
      await stopDev(dev, 'SIGKILL')
      await vi.waitFor(() => expect(dev.peers.filter((peer) => isAlive(peer.pid))).toEqual([]), waitMs)
      expect(readdirSync(root)).toEqual([])
    },
    SLOW
  )

  it(
    'quire dev keeps its cluster in the data directory, and does not restart a dead peer',
    async () => {
      const folder = join(root, 'cluster')
      const local = join(root, 'local')
      writeFileSync(local, 'remembered')
      const first = await startDev(root, '--data-dir', folder)
      try {
        const env = { QUIRE_PEERS: first.peers.map((peer) => peer.multiaddr).join(',') }
        process.kill(first.peers[0]!.pid, 'SIGKILL')
        await vi.waitFor(
          () => expect(first.stderr).toContain(`peer ${first.peers[0]!.peerId} has ended (SIGKILL)`),
          waitMs
        )
        expect(await quire(['put', local, '/kept'], { env })).toMatchObject({ status: 0, stderr: '' })
        const status = await quire(['status', '--json'], { env })
        const rows = status.stdout
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line) as { id: string; role?: string; error?: string })
        expect(rows.find((row) => row.id === first.peers[0]!.peerId)?.error).toContain('ECONNREFUSED')
        expect(rows.filter((row) => row.role === 'leader')).toHaveLength(1)
      } finally {
        await stopDev(first)
      }
      const second = await startDev(root, '--data-dir', folder)
      try {
        expect(second.peers.map((peer) => peer.multiaddr)).toEqual(first.peers.map((peer) => peer.multiaddr))
        const env = { QUIRE_PEERS: second.peers[0]!.multiaddr }
        expect(await quire(['cat', '/kept'], { env })).toEqual({ status: 0, stdout: 'remembered', stderr: '' })
      } finally {
        await stopDev(second)
      }
      const wrong = await quire(['dev', '--data-dir', folder, '--peers', '5'])
      expect(wrong).toMatchObject({ status: 2, stderr: `quire: --peers is 5, must be 3, as ${folder} has them\n` })
    },
    SLOW
  )

  it(
    'quire dev admits only listed clients, and tells the others which key they need',
    async () => {
      const id = await keygen(join(root, 'key'))
      mkdirSync(join(root, 'tmp'))
      const dev = await startDev(join(root, 'tmp'), '--peers', '1', '--clients', id)
      try {
        const env = { QUIRE_PEERS: dev.peers[0]!.multiaddr }
        expect(await quire(['ls', '--key', join(root, 'key')], { env })).toEqual({ status: 0, stdout: '', stderr: '' })
        const other = await keygen(join(root, 'other'))
        const commands = [['status'], ['health'], ['ls'], ['rm', '/none']]
        const keyed = commands.map((args) => ({ args, key: join(root, 'other') }))
        const cases = [...keyed, { args: ['health'], key: '' }, { args: ['ls'], key: '' }]
        const strangers = await quireEach(cases, async ({ args, key }) => ({
          args,
          key,
          stranger: await quire(args, { env: { ...env, QUIRE_KEY: key } })
        }))
        const unlisted = String.raw`is not among the clients of cluster dev-\w+; use the key of a listed client`
        const orAllow = String.raw`, or let an admin allow this one \(quire clients allow\)`
        for (const { args, key, stranger } of strangers) {
          expect(stranger, args[0]).toMatchObject({ status: 1 })
          if (args[0] === 'status') expect(stranger.stdout).toMatch(/ refused .*\n +refused: it is not\s+among/)
          else expect(stranger.stdout).toBe('')
          // Without a key, the user knows neither the identity nor the remedy, so the message names both.
          const words =
            key === ''
              ? String.raw`this command has a fresh identity \(12D3\w+\), which ${unlisted} \(--key FILE or QUIRE_KEY\)`
              : `${other} is refused: it ${unlisted}${orAllow}`
          expect(stranger.stderr).toMatch(new RegExp(`^quire: (unhealthy: )?${words}\\n$`))
        }
        const listed = await quire(['ls'], { env: { ...env, QUIRE_KEY: join(root, 'key') } })
        expect(listed).toEqual({ status: 0, stdout: '', stderr: '' })
        // The option takes precedence over the variable.
        const option = await quire(['ls', '--key', join(root, 'key')], {
          env: { ...env, QUIRE_KEY: join(root, 'other') }
        })
        expect(option).toEqual({ status: 0, stdout: '', stderr: '' })
      } finally {
        await stopDev(dev)
      }
    },
    SLOW
  )
})

it(
  'without a quorum, a command names the state of the peers that answer, and the peers that do not',
  async () => {
    const dev = await startDev(root)
    try {
      const env = { QUIRE_PEERS: dev.peers.map((peer) => peer.multiaddr).join('\n') }
      for (const peer of dev.peers.slice(1)) process.kill(peer.pid, 'SIGKILL')
      // The surviving peer may be the leader, which steps down once it hears from no majority.
      await vi.waitFor(async () => {
        const { status, stderr } = await quire(['ls', '--timeout', '2s'], { env })
        expect(status).toBe(1)
        expect(stderr).toMatch(/^quire: unavailable: no leader: 1 of 3 peers answered \(candidate\); unreachable: /)
        for (const { peerId, multiaddr } of dev.peers.slice(1)) {
          const [, port] = /tcp\/(\d+)/.exec(multiaddr)!
          expect(stderr).toContain(`…${peerId.slice(-8)} at 127.0.0.1:${port} (ECONNREFUSED)`)
        }
      }, waitMs)
    } finally {
      await stopDev(dev)
    }
  },
  SLOW
)
