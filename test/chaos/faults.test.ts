/** Faults find something to hit, and leave what they must leave. */
import { createRandomSource, type RandomSource } from '@quire/testing'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { OwnCluster } from './src/cluster/own-cluster.js'
import type { World } from './src/faults/fault.js'
import { leaderFromClients, ringCuts } from './src/faults/partition.js'
import { bitsFlipped } from './src/faults/rot.js'

interface Rest {
  readonly clients?: readonly object[]
  readonly random?: RandomSource
}

/** A world with what the fault under test needs, and nothing else. */
function worldOf(cluster: object, { clients = [], random = createRandomSource(1) }: Rest = {}): World<OwnCluster> {
  const pause = (): Promise<void> => Promise.resolve()
  const world = { cluster, clients, random, pause, replace: pause }
  return world as unknown as World<OwnCluster>
}

describe('a majority ring', () => {
  it.each([3, 4, 5, 6, 7])('a ring of %i peers cuts lines and leaves each peer a majority', (peers) => {
    const cuts = ringCuts(peers)
    expect(cuts.length).toBeGreaterThan(0)
    for (let peer = 0; peer < peers; peer++) {
      const reached = peers - cuts.filter((pair) => pair.includes(peer)).length
      expect(reached * 2).toBeGreaterThan(peers)
    }
  })

  it('one peer, or two, have no ring', () => {
    expect(ringCuts(1)).toEqual([])
    expect(ringCuts(2)).toEqual([])
  })
})

it('clients that are cut from the leader are one at least', async () => {
  const cuts: string[] = []
  const machineOf = (name: string): object => ({ name, machine: { name } })
  const leader = machineOf('peer1')
  const cluster = {
    operator: { leader: () => Promise.resolve(leader) },
    lines: {
      cut: (from: { name: string }, to: { name: string }) => Promise.resolve(cuts.push(`${from.name} ${to.name}`)),
      mend: () => Promise.resolve()
    }
  }
  const random = { ...createRandomSource(1), is: () => false, pick: ([one]: object[]) => one, between: () => 0 }
  const world = worldOf(cluster, { clients: [machineOf('client1'), machineOf('client2')], random: random as never })
  let what = ''
  await leaderFromClients.make(world, (text) => (what = text))
  expect(what).toBe('peer1 from 1 clients')
  expect(cuts).toEqual(['peer1 client1', 'client1 peer1'])
})

describe('bits that flip', () => {
  const PAGE_BYTES = 4096
  /** The third page, behind its header. */
  const BODY = 2 * PAGE_BYTES + 24

  /** A peer whose file gets a body with the given call of `fill`. */
  function clusterOf(filledAt: number): { readonly cluster: object; readonly path: string } {
    const dataDir = mkdtempSync(join(tmpdir(), 'quire-chaos-rot-'))
    onTestFinished(() => rmSync(dataDir, { recursive: true }))
    const path = join(dataDir, 'pages', 'pages.lmdb')
    mkdirSync(join(dataDir, 'pages'))
    const pages = Buffer.alloc(3 * PAGE_BYTES)
    writeFileSync(path, pages)
    let fills = 0
    const fill = (): Promise<void> => {
      // A value of one page, which does not look like a list of free pages.
      pages.fill(255, BODY)
      pages.writeUInt16LE(4, 2 * PAGE_BYTES + 18)
      pages.writeUInt32LE(1, 2 * PAGE_BYTES + 20)
      if (++fills === filledAt) writeFileSync(path, pages)
      return Promise.resolve()
    }
    const peer = { name: 'peer1', dataDir, kill: () => Promise.resolve(), start: () => Promise.resolve() }
    return { cluster: { members: [peer], fill }, path }
  }

  it('bits flip in bodies only, and the peer is filled again until it has some', async () => {
    const { cluster, path } = clusterOf(2)
    const begun: string[] = []
    await bitsFlipped.make(worldOf(cluster), (what) => begun.push(what))
    expect(begun).toEqual(['peer1: 40 bytes of pages'])
    const pages = readFileSync(path)
    expect(pages.subarray(0, 2 * PAGE_BYTES).every((byte) => byte === 0)).toBe(true)
    expect(pages.subarray(BODY).some((byte) => byte !== 255)).toBe(true)
  })

  it('a peer that never has a body is a failure, and no fault', async () => {
    const begun: string[] = []
    const making = bitsFlipped.make(worldOf(clusterOf(Infinity).cluster), (what) => begun.push(what))
    await expect(making).rejects.toThrow('peer1 has no pages although files were stored 5 times')
    expect(begun).toEqual([])
  })
})
