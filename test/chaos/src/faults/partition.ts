import type { OwnCluster } from '../cluster/own-cluster.js'
import type { Lines, Machine } from '../machines/machine.js'
import { whyNoCompiler } from '../machines/compiler.js'
import { whyNoHub } from '../machines/namespaces.js'
import { oftenTheLeader, type OwnFault, type World } from './fault.js'

const MIN_MS = 2_000
const MAX_MS = 15_000

function machinesOf({ cluster, clients }: World<OwnCluster>): Machine[] {
  return [...cluster.members, ...clients].map(({ machine }) => machine)
}

function linesOf({ cluster }: World<OwnCluster>): Lines {
  if (cluster.lines === undefined) throw new Error('the machines have no lines')
  return cluster.lines
}

/** Cuts the lines, waits, and mends them. */
async function cutFor(
  world: World<OwnCluster>,
  pairs: readonly (readonly [from: Machine, to: Machine])[]
): Promise<void> {
  const { random, pause } = world
  const lines = linesOf(world)
  for (const [from, to] of pairs) if (from !== to) await lines.cut(from, to)
  await pause(random.between(MIN_MS, MAX_MS))
  await lines.mend()
}

function bothWays(some: readonly Machine[], others: readonly Machine[]): (readonly [Machine, Machine])[] {
  return some.flatMap((one) =>
    others.flatMap(
      (other) =>
        [
          [one, other],
          [other, one]
        ] as const
    )
  )
}

const rest = {
  kind: 'partition',
  lane: 'lines',
  perMinute: 0.25,
  needs: 'the lines of its machines',
  whyNot: whyNoHub
} as const

export const isolatePeer: OwnFault = {
  ...rest,
  name: 'peer isolated',
  async make(world, begins) {
    const peer = await oftenTheLeader(world, world.cluster.members)
    begins(peer.name)
    const others = machinesOf(world).filter((machine) => machine !== peer.machine)
    await cutFor(world, bothWays([peer.machine], others))
  }
}

/** What one peer sends, or what is sent to it, is lost. */
export const oneWay: OwnFault = {
  ...rest,
  name: 'one way cut',
  async make(world, begins) {
    const peer = await oftenTheLeader(world, world.cluster.members)
    const isDeaf = world.random.is(0.5)
    begins(`${isDeaf ? 'to' : 'from'} ${peer.name}`)
    const others = machinesOf(world).filter((machine) => machine !== peer.machine)
    await cutFor(
      world,
      others.map((other): [Machine, Machine] => (isDeaf ? [other, peer.machine] : [peer.machine, other]))
    )
  }
}

export const leaderFromClients: OwnFault = {
  ...rest,
  name: 'clients cut from the leader',
  async make(world, begins) {
    const { cluster, clients, random } = world
    const leader = await cluster.operator.leader()
    if (leader === undefined) return
    const chosen = clients.filter(() => random.is(0.7))
    const some = chosen.length > 0 ? chosen : [random.pick(clients)]
    begins(`${leader.name} from ${some.length} clients`)
    await cutFor(
      world,
      bothWays(
        [leader.machine],
        some.map(({ machine }) => machine)
      )
    )
  }
}

/** Each peer reaches a majority, and no two peers the same one. */
export const ring: OwnFault = {
  ...rest,
  name: 'majority ring',
  async make(world, begins) {
    const { members } = world.cluster
    const cuts = ringCuts(members.length)
    if (cuts.length === 0) return
    begins(cuts.map(([one, other]) => `${members[one]!.name} from ${members[other]!.name}`).join(', '))
    await cutFor(
      world,
      cuts.flatMap(([one, other]) => bothWays([members[one]!.machine], [members[other]!.machine]))
    )
  }
}

/** The pairs of `peers` peers in a ring that do not reach each other: each peer still reaches a majority. */
export function ringCuts(peers: number): (readonly [number, number])[] {
  // All of three peers are neighbors in their ring, and one pair fewer still leaves each peer a majority.
  if (peers === 3) return [[0, 1]]
  // A majority is a peer itself and half of the peers, rounded down: half of those on either side.
  const reach = Math.ceil(Math.floor(peers / 2) / 2)
  const all = Array.from({ length: peers }, (_, i) => i)
  const pairs = all.flatMap((one) => all.slice(one + 1).map((other) => [one, other] as const))
  return pairs.filter(([one, other]) => Math.min(other - one, peers - (other - one)) > reach)
}

const THIN_BITS = [1_000_000, 4_000_000, 16_000_000]

export const thinLine: OwnFault = {
  ...rest,
  name: 'line thin',
  async make(world, begins) {
    const { random, pause } = world
    const lines = linesOf(world)
    const machine = random.pick(machinesOf(world))
    const bits = random.pick(THIN_BITS)
    begins(`${machine.name}: ${bits / 1e6} Mbit/s`)
    await lines.thin(machine, bits)
    await pause(random.between(MIN_MS, MAX_MS))
    await lines.mend()
  }
}

const MIN_DELAY_MS = 50
const MAX_DELAY_MS = 300

export const farLine: OwnFault = {
  ...rest,
  name: 'line far',
  whyNot: () => whyNoHub() ?? whyNoCompiler(),
  async make(world, begins) {
    const { random, pause } = world
    const lines = linesOf(world)
    const machine = random.pick(machinesOf(world))
    const delayMs = random.int(MIN_DELAY_MS, MAX_DELAY_MS)
    begins(`${machine.name}: ${delayMs} ms`)
    await lines.lengthen(machine, delayMs)
    await pause(random.between(MIN_MS, MAX_MS))
    await lines.mend()
  }
}
