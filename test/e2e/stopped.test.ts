import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { startCluster, until } from './support/cluster.js'

const READER = fileURLToPath(new URL('./children/reader.mjs', import.meta.url))
const TTL_MS = 1000

interface Answer {
  readonly lastRead: Readonly<Record<string, string>>
  readonly errors: readonly { readonly name: string }[]
  readonly reads: number
}

async function ask(reader: ChildProcess): Promise<Answer> {
  reader.stdin!.write('\n')
  const [line] = (await once(reader.stdout!, 'data')) as [Buffer]
  return JSON.parse(String(line)) as Answer
}

describe('a client that is stopped past its lease', () => {
  it('hazard: client paused (SIGSTOP) past its lease and resumed in the middle of a read: it serves nothing stale', async () => {
    await using cluster = await startCluster()
    const client = await cluster.client()
    const file = await client.open('/stopped', { create: true, size: 4096 })
    const mapping = await file.mmap()
    await mapping.write(0, new Uint8Array([1]))
    const reader = spawn(process.execPath, [READER, '/stopped', String(TTL_MS), ...cluster.addresses], {
      stdio: ['pipe', 'pipe', 'inherit']
    })
    try {
      expect(String((await once(reader.stdout, 'data'))[0])).toBe('reading\n')
      for (let value = 2; value <= 4; value++) {
        reader.kill('SIGSTOP')
        // Waits for the reader to give up its copy, which it cannot do before its session expires.
        await mapping.write(0, new Uint8Array([value]))
        const writtenAt = process.hrtime.bigint()
        reader.kill('SIGCONT')
        let answer: Answer | undefined
        await until(async () => {
          answer = await ask(reader)
          return answer.lastRead[value] !== undefined
        }, 'the reader to see the new value')
        expect(BigInt(answer!.lastRead[value - 1]!)).toBeLessThan(writtenAt)
        expect(answer!.errors).toHaveLength(value - 1)
        expect(answer!.errors.at(-1)).toMatchObject({ name: 'SessionExpiredError' })
      }
    } finally {
      reader.kill('SIGKILL')
    }
  })

  it('a client that is stopped past its lease is suspect, then active again without loss, if it is resumed in time', async () => {
    await using cluster = await startCluster()
    const client = await cluster.client({ sessionTtlMs: 4000 })
    const states: string[] = []
    client.addEventListener('sessionlost', () => states.push('lost'))
    const file = await client.open('/suspect', { create: true, size: 4096 })
    const mapping = await file.mmap()
    await mapping.write(0, new Uint8Array([7]))
    const leader = await cluster.leader()
    // No peer answers, so no leader confirms the lease, and none expires it either.
    for (const peer of cluster.peers) process.kill(peer.pid, 'SIGSTOP')
    await until(() => client.session.state === 'suspect', 'the lease to run out')
    const reading = mapping.read(0, 1)
    // The lease at the leader ends soon after. The others elect another leader, which gives each session its whole
    // time.
    for (const peer of cluster.peers) if (peer !== leader) process.kill(peer.pid, 'SIGCONT')
    try {
      expect(await reading).toEqual(new Uint8Array([7]))
      await mapping.msync()
      expect(client.session.state).toBe('active')
      expect(states).toEqual([])
    } finally {
      process.kill(leader.pid, 'SIGCONT')
    }
  })
})
