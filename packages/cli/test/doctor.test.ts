/** The command `quire doctor` on this machine. */
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Finding } from '../src/doctor-checks.js'
import { keygen, quire, testFolder } from './support/quire.js'

const SLOW = 40_000

async function doctor(...args: string[]): Promise<{ status: number | null; stderr: string; findings: Finding[] }> {
  const { status, stdout, stderr } = await quire(['doctor', '--json', ...args])
  const findings = stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Finding)
  return { status, stderr, findings }
}

describe('quire doctor', () => {
  it(
    'quire doctor checks the machine without options, and ends with status 0 when there is no problem',
    async () => {
      const { status, stdout, stderr } = await quire(['doctor'])
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
      expect(stdout).toMatch(/^ok +node +\d+\.\d+\.\d+$/m)
      expect(stdout).toMatch(/^(ok|warning) +open files +the limit is \d+/m)
      expect(stdout).toMatch(/^(ok|warning) +clock /m)
      for (const [check, option] of [
        ['disk', '--data-dir'],
        ['listen', '--listen'],
        ['cluster', '--cluster']
      ])
        expect(stdout).toMatch(new RegExp(`^not checked +${check} +give ${option} to check it$`, 'm'))
    },
    SLOW
  )

  it(
    'quire doctor measures the disk of a data directory that does not exist yet, and leaves nothing behind',
    async () => {
      const folder = testFolder()
      const { status, findings } = await doctor('--data-dir', join(folder, 'new/data'))
      expect(status).toBe(0)
      expect(findings.find(({ check }) => check === 'disk')?.found).toContain(folder)
      expect(readdirSync(folder)).toEqual([])
    },
    SLOW
  )

  it(
    'quire doctor ends with status 1 and the remedy when another program listens on the address, which counts as reachable',
    async () => {
      const server = createServer().listen(0, '127.0.0.1')
      await once(server, 'listening')
      const listen = `/ip4/127.0.0.1/tcp/${(server.address() as AddressInfo).port}`
      const folder = testFolder()
      const peerId = await keygen(join(folder, 'key'))
      const cluster = join(folder, 'cluster.json')
      await quire(['init', '--out', cluster, '--clients', 'any', '--voters', `${listen}/p2p/${peerId}`])
      try {
        const { status, stderr, findings } = await doctor('--listen', listen, '--cluster', cluster)
        expect(status).toBe(1)
        expect(stderr).toBe('{"error":{"code":null,"message":"1 problem found"}}\n')
        expect(findings.find(({ check }) => check === 'listen')).toMatchObject({
          verdict: 'problem',
          found: `${listen}: another program listens there`,
          remedy: expect.stringContaining('choose another port') as string
        })
        expect(findings.find(({ check }) => check === 'cluster')).toMatchObject({ verdict: 'ok' })
      } finally {
        server.close()
      }
    },
    SLOW
  )

  it(
    'quire doctor ends with status 2 for an address that cannot be one, and for a cluster file that cannot be read',
    async () => {
      for (const args of [
        ['--listen', 'here'],
        ['--cluster', '/nowhere.json']
      ]) {
        const { status, findings } = await doctor(...args)
        expect({ status, findings }).toEqual({ status: 2, findings: [] })
      }
    },
    SLOW
  )
})
