/** `quire dev` as a test runs it. */
import { once } from 'node:events'
import { expect, vi } from 'vitest'
import { startQuire, type Running } from './quire.js'

const waitMs = { timeout: 20_000, interval: 50 }

export interface PeerLine {
  readonly peerId: string
  readonly multiaddr: string
  readonly pid: number
  readonly dataDir: string
  readonly key: string
}

export interface Dev extends Running {
  readonly peers: PeerLine[]
}

/** Starts `quire dev --json` and waits for its `ready`. Its temporary files are in `folder`. */
export async function startDev(folder: string, ...args: string[]): Promise<Dev> {
  const running = startQuire(['dev', '--json', ...args], { env: { TMPDIR: folder } })
  try {
    await vi.waitFor(() => {
      if (running.child.exitCode !== null) throw new Error(`dev ended: ${running.stderr}`)
      expect(running.stdout).toContain('{"ready":true}\n')
    }, waitMs)
  } catch (error) {
    running.child.kill('SIGTERM')
    throw error
  }
  const lines = running.stdout.trim().split('\n').slice(0, -1)
  return Object.assign(running, { peers: lines.map((line) => JSON.parse(line) as PeerLine) })
}

export async function stopDev(dev: Running | undefined, signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
  if (dev === undefined) return null
  if (dev.child.exitCode === null && dev.child.signalCode === null) {
    const exited = once(dev.child, 'exit')
    dev.child.kill(signal)
    await exited
  }
  return dev.child.exitCode
}
