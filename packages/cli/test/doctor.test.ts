/** The command `quire doctor` on this machine. */
import { once } from 'node:events'
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Finding } from '../src/doctor-checks.js'
import { startDev, stopDev } from './support/dev.js'
import { INIT, keygen, quire, testFolder } from './support/quire.js'

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
        ['data dir', '--data-dir'],
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
    'quire doctor ends with status 1 and the remedies when another program listens on the address of this peer',
    async () => {
      const server = createServer().listen(0, '127.0.0.1')
      await once(server, 'listening')
      const listen = `/ip4/127.0.0.1/tcp/${(server.address() as AddressInfo).port}`
      const folder = testFolder()
      const peerId = await keygen(join(folder, 'key'))
      const cluster = join(folder, 'cluster.json')
      await quire([...INIT, '--out', cluster, '--clients', 'any', '--voters', `${listen}/p2p/${peerId}`])
      try {
        const { status, stderr, findings } = await doctor('--listen', listen, '--cluster', cluster)
        expect(status).toBe(1)
        expect(stderr).toBe('{"error":{"code":null,"message":"2 problems found"}}\n')
        expect(findings.find(({ check }) => check === 'listen')).toMatchObject({
          verdict: 'problem',
          found: `${listen}: another program listens there`,
          remedy: expect.stringContaining('choose another port') as string
        })
        // The program accepts the connection, but does not prove to be the voter.
        expect(findings.find(({ check }) => check === 'cluster')).toMatchObject({
          verdict: 'problem',
          found: expect.stringContaining('no answer') as string
        })
      } finally {
        server.close()
      }
    },
    SLOW
  )

  it(
    'quire doctor finds a problem in each folder that no peer can start in, and writes nothing there',
    async () => {
      const root = testFolder()
      const [foreign, other, blue] = ['foreign', 'other', 'blue'].map((name) => join(root, name)) as [
        string,
        string,
        string
      ]
      mkdirSync(foreign)
      writeFileSync(join(foreign, 'client.key'), '')
      const peerId = await keygen(join(root, 'key'))
      const voters = `/ip4/127.0.0.1/tcp/1/p2p/${peerId}`
      for (const name of ['blue', 'green']) {
        const out = join(root, `${name}.json`)
        await quire([...INIT, '--out', out, '--clients', 'any', '--cluster-id', name, '--voters', voters])
      }
      mkdirSync(other)
      const identity = {
        version: 3,
        peerId,
        clusterId: 'blue',
        founding: 'x',
        incarnation: 'x',
        joined: false,
        state: 'founded'
      }
      writeFileSync(join(other, 'identity.json'), JSON.stringify(identity))
      const before = [foreign, other].map((folder) => readdirSync(folder))
      const check = async (...args: string[]): Promise<Finding> => {
        const { findings } = await doctor('--data-dir', ...args)
        return findings.find((each) => each.check === 'data dir')!
      }
      const green = join(root, 'green.json')
      expect(await check(foreign)).toMatchObject({
        verdict: 'problem',
        found: `${foreign}: not a data directory: it has client.key but no identity.json`
      })
      expect(await check(other)).toMatchObject({ verdict: 'ok', found: expect.stringContaining('in cluster blue') })
      expect(await check(other, '--cluster', green)).toMatchObject({
        verdict: 'problem',
        found: `${other} belongs to cluster blue, not green`
      })
      expect(await check(other, '--cluster', join(root, 'blue.json'))).toMatchObject({
        verdict: 'problem',
        found: `${other} was founded from another configuration of cluster blue`
      })
      expect(await check(blue, '--cluster', green)).toMatchObject({ verdict: 'ok' })
      expect([foreign, other].map((folder) => readdirSync(folder))).toEqual(before)
    },
    SLOW
  )

  it(
    'quire doctor finds a problem in the address of a voter where another peer is, and none where the voter is',
    async () => {
      const root = testFolder()
      const dev = await startDev(root, '--peers', '2')
      try {
        const swapped = join(root, 'swapped.json')
        const file = join(dirname(dev.peers[0]!.dataDir), 'cluster.json')
        const text = readFileSync(file, 'utf8')
        const cluster = JSON.parse(text) as { voters: { addresses: string[] }[] }
        const [one, two] = cluster.voters.map(({ addresses }) => addresses[0]!.replace(/\/p2p\/.*/, '')) as [
          string,
          string
        ]
        writeFileSync(swapped, text.replaceAll(one, 'ONE').replaceAll(two, one).replaceAll('ONE', two))
        const voters = async (...args: string[]): Promise<Finding[]> =>
          (await doctor('--cluster', ...args)).findings.filter(({ check }) => check === 'cluster')
        expect((await voters(file)).map(({ verdict }) => verdict)).toEqual(['ok', 'ok'])
        const found = await voters(swapped)
        expect(found.map(({ verdict }) => verdict)).toEqual(['problem', 'problem'])
        for (const each of found) expect(each.found).toMatch(/: another peer is there: …\w{8}$/)
      } finally {
        await stopDev(dev)
      }
    },
    SLOW
  )

  it(
    'quire doctor runs below the lowest limit of open files, and shows it as a problem',
    async () => {
      const { status, stdout, stderr } = await quire(['doctor'], { maxOpenFiles: 200 })
      expect({ status, stderr }).toEqual({ status: 1, stderr: 'quire: 1 problem found\n' })
      expect(stdout).toMatch(/^problem +open files +the limit is 200, quire needs at least 256$/m)
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
