/** One redis-server of Debian on loopback, without persistence, as a rival. */
import { freePorts } from '@quire/cli/internal'
import { createClient } from '@redis/client'
import { spawn, spawnSync } from 'node:child_process'

export function hasRedis(): boolean {
  return spawnSync('redis-server', ['--version']).status === 0
}

/** Resolves with its URL when it answers. It ends with this process. */
export async function startRedis(folder: string): Promise<string> {
  const [port] = await freePorts(1)
  const args = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', folder]
  const child = spawn('redis-server', args, { stdio: 'ignore' })
  process.on('exit', () => child.kill('SIGKILL'))
  const url = `redis://127.0.0.1:${port}`
  for (;;) {
    try {
      const client = await connectRedis(url)
      await client.close()
      return url
    } catch (error) {
      if (child.exitCode !== null) throw new Error(`redis-server ended with status ${child.exitCode}`, { cause: error })
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
}

export type Redis = Awaited<ReturnType<typeof connectRedis>>

/** Answers are Buffers. Commands of one turn of the event loop travel together. */
export async function connectRedis(url: string) {
  const client = createClient({ url, socket: { reconnectStrategy: false } }).withTypeMapping({ 36: Buffer })
  client.on('error', () => {})
  await client.connect()
  return client
}
