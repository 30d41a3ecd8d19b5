import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'

export const CHAOS = fileURLToPath(new URL('../../chaos/dist/main.js', import.meta.url))

/** Runs `pnpm chaos`, and returns all that it prints. */
export async function chaos(...args: readonly string[]): Promise<{ readonly status: number; readonly output: string }> {
  const child = spawn(process.execPath, [CHAOS, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  onTestFinished(() => void child.kill('SIGTERM'))
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes: Buffer) => (output += String(bytes)))
  const [status] = (await once(child, 'close')) as [number]
  return { status, output }
}
