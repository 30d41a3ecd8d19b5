import { DEFAULT_ROUND_TRIP_MS, timingOf } from '@quire/protocol'
import { afterEach, describe, expect, it } from 'vitest'
import { Cluster, tickContext, type Member } from './support/cluster.js'

const NEAR = timingOf(DEFAULT_ROUND_TRIP_MS)
const FAR = timingOf(600)

let cluster: Cluster
afterEach(async () => {
  const fatal = cluster.members.map((member) => member.fatal).filter((error) => error !== undefined)
  await cluster.close()
  expect(fatal).toEqual([])
})

async function start(roundTripMs: number, tickMs: number, seed: number): Promise<void> {
  cluster = new Cluster({ seed, tickMs })
  cluster.roundTripMs = roundTripMs
  for (const member of cluster.members) await cluster.run(member.start())
}

function termsOf(members: readonly Member[]): number[] {
  return members.map(({ status }) => status!.term)
}

describe('nodes that are 600 ms apart', () => {
  it.each([1, 2, 3, 4, 5])(
    'nodes that are 600 ms apart elect a leader within two of the longest timeouts, commit, and keep that leader (seed %d)',
    async (seed) => {
      await start(FAR.roundTripMs, FAR.tickMs, seed)
      const bound = 2 * (2 * FAR.electionMs + 2 * FAR.roundTripMs)
      expect(await cluster.clock.until(() => cluster.leader?.status?.ready === true, bound)).toBe(true)
      const { leader } = cluster
      const { term } = leader!.status!
      const index = leader!.propose('far')
      expect(await cluster.converge(index, 2 * FAR.roundTripMs + FAR.electionMs)).toBe(true)
      await cluster.clock.advance(20 * FAR.electionMs)
      expect(termsOf(cluster.members)).toEqual([term, term, term])
      expect(cluster.leader).toBe(leader)
    }
  )
})

describe('new tick lengths', () => {
  it.each([
    ['longer', NEAR.tickMs, FAR.tickMs],
    ['shorter', FAR.tickMs, NEAR.tickMs]
  ])(
    'a new tick length that all nodes set upon the same entry does not depose the leader: %s',
    async (_, before, after) => {
      for (let seed = 1; seed <= 20; seed++) {
        await start(before === FAR.tickMs ? 100 : 0, before, seed)
        const leader = await cluster.elect()
        const { term } = leader.status!
        if (after === NEAR.tickMs) cluster.roundTripMs = 0
        const index = leader.propose('before')
        await cluster.clock.until(() => leader.status!.appliedIndex >= index)
        const change = leader.node!.changeMembership([], tickContext(after))
        expect(await cluster.converge(change.index, 2 * FAR.electionMs)).toBe(true)
        await cluster.clock.advance(4 * FAR.electionMs)
        expect(termsOf(cluster.members), `seed ${seed}`).toEqual([term, term, term])
        // The new pace: a node that is cut off asks for votes after a timeout of the new length.
        const cut = cluster.members.find((member) => member !== leader)!
        cluster.isolate(cut)
        const from = cluster.clock.now()
        await cluster.clock.until(() => cut.status!.role === 'candidate')
        const silence = cluster.clock.now() - from
        const electionMs = after * FAR.electionTicks
        expect(silence).toBeGreaterThan(electionMs - FAR.heartbeatTicks * after - 10)
        expect(silence).toBeLessThan(2 * electionMs + 10)
        if (seed < 20) await cluster.close()
      }
    }
  )

  it('a new tick length must be positive', async () => {
    await start(0, NEAR.tickMs, 1)
    const { node } = await cluster.elect()
    for (const tickMs of [0, -1, Number.NaN, Infinity]) {
      expect(() => node!.setTickMs(tickMs)).toThrow(expect.objectContaining({ argument: 'tickMs' }) as Error)
    }
  })

  it('a new tick length can be based on the configuration in force, whichever leader proposed that', async () => {
    await start(0, NEAR.tickMs, 1)
    const leader = await cluster.elect()
    expect(leader.node!.context).toEqual(new Uint8Array(0))
    const { index } = leader.node!.changeMembership([], tickContext(25))
    expect(leader.node!.context).toEqual(tickContext(25))
    await cluster.converge(index)
    for (const { node } of cluster.members) expect(node!.context).toEqual(tickContext(25))
  })
})
