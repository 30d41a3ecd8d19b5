import { crc32c } from '@node-rs/crc32'
import { DEFAULT_ROUND_TRIP_MS, PROTOCOL_RAFT, timingOf } from '@quire/protocol'
import { inspectClient } from '@quire/dsm-client/internal'
import type { RandomSource } from '@quire/testing'
import type { Coverage } from '../coverage.js'
import type { Scheduler } from '../scheduler.js'
import { Violation } from '../violation.js'
import { countStats, type SimClient } from './clients.js'
import type { SimNetwork } from './network.js'
import type { Operator } from './operator.js'
import type { PageInvariants } from './page-invariants.js'
import { PAGE_BYTES } from './page-layout.js'
import type { SimPeer } from './peers.js'
import type { Program } from './program.js'
import type { PeerRaftInvariants } from './raft-invariants.js'
import type { Settings } from './settings-types.js'

/** Long enough for everything that was waiting: connections are found dead, elections are held, leases run out. */
const REST_MS = 40_000
const STABLE_MS = 600
/** Two of the longest pauses between attempts. */
const DIRECT_MS = 120_000
/** More than a machine has damaged pages. */
const MAX_LOOKS = 100

/** The part of the simulation that its quiescence uses. */
export interface QuiescentCluster {
  readonly scheduler: Scheduler
  readonly coverage: Coverage
  readonly settings: Settings
  readonly network: SimNetwork
  /** The peers that are to run. */
  readonly members: readonly SimPeer[]
  readonly operator: Operator
  readonly clients: readonly SimClient[]
  readonly raft: PeerRaftInvariants
  readonly pages: PageInvariants
  isQuiescent: boolean
  leader(): SimPeer | undefined
  /** False while a peer has a damaged page. */
  checkDigests(): boolean
  /** Writes a line of the trace, if there is one. */
  note(line: string): void
  runFor(ms: number): Promise<void>
  /** Runs until `done()`. Throws a violation of liveness if that takes longer than `ms`. */
  until(what: string, ms: number, done: () => boolean, describe: () => string): Promise<void>
}

type Contents = Awaited<ReturnType<Program['readAll']>>

/**
 * Ends a seed without faults.
 *
 * Every call must end, all nodes must agree, and nothing may be left over.
 */
export class ClusterQuiescence {
  constructor(
    private readonly simulation: QuiescentCluster,
    private readonly random: RandomSource
  ) {}

  async run(): Promise<void> {
    const { clients, operator, settings } = this.simulation
    if (settings.isAdministered)
      await this.complete('members are settled', operator.settle(), () => operator.describe())
    // Links come back, a leader is elected, clients learn which sessions they have lost, and sessions of the dead
    // expire.
    await this.until('the cluster is whole again', this.stability())
    this.simulation.isQuiescent = true
    // A call from before quiescence may still time out; a later one may not.
    await this.until('programs end', () =>
      clients.every(({ client, running, isLeaving }) => client !== undefined && running === 0 && !isLeaving)
    )
    await this.returnToDirectPaths()
    this.simulation.note('--- rest')
    const programs = clients.map((client) => client.finalProgram(this.random.fork(client.name)))
    for (const program of programs) await this.complete('a visit of all pages', program.visitAll())
    await this.discardPrivately(programs)
    const contents = await this.agree(programs)
    await this.until('sessions of the dead expire', () => this.sessionsAtLeader() === clients.length)
    this.checkAtRest()
    // Crashes, power failures, torn tails and truncations make no folder look older than it is.
    await this.until('no peer is refused', () =>
      this.simulation.members.every(({ core }) => core?.status().quarantined.length === 0)
    )
    for (const program of programs) await this.complete('the close of all files', program.closeAll())
    this.checkNothingHeld()
    await this.end(contents)
  }

  /** Sessions that went through a relay find the direct path again. */
  private async returnToDirectPaths(): Promise<void> {
    const { simulation } = this
    const isRelayed = ({ client }: SimClient): boolean => client?.stats().path === 'relayed'
    const relayed = simulation.clients.filter(isRelayed)
    if (relayed.length === 0) return
    const done = (): boolean => !simulation.clients.some(isRelayed)
    await simulation.until('sessions move to a direct path', DIRECT_MS, done, () => this.describe())
    simulation.coverage.add('sessions that moved to a direct path', relayed.length)
  }

  private async agree(programs: readonly Program[]): Promise<Contents> {
    const all: Contents[] = []
    for (const program of programs) all.push(await this.complete('a reading of all pages', program.readAll()))
    const [first = []] = all
    for (const contents of all) {
      for (const [i, { file, page, bytes }] of contents.entries()) {
        const other = first[i]
        if (other?.file !== file || other.page !== page || Buffer.compare(other.bytes, bytes) !== 0) {
          throw new Violation('all agree in the end', `page ${file}:${page} reads in two ways`)
        }
      }
    }
    for (const program of programs) {
      this.compareChecksums(first, await this.complete('checksums of all files', program.checksums()))
    }
    return first
  }

  private compareChecksums(contents: Contents, checksums: ReadonlyMap<number, number>): void {
    for (const [id, found] of checksums) {
      const pages = contents.filter(({ file }) => file === id)
      const checksum = pages.reduce((before, { bytes }) => crc32c(bytes, before), 0)
      if (found !== checksum) throw new Violation('a checksum is that of the stored bytes', `file ${id}`)
    }
  }

  /** Discards drop private copies with their pages at every client, and no others. */
  private async discardPrivately(programs: readonly Program[]): Promise<void> {
    for (const program of programs) await this.complete('private copies', program.makePrivate())
    const truncating = this.random.pick(programs)
    await this.complete('a truncation', truncating.halve())
    // The other clients hear of it a moment later.
    await this.simulation.runFor(200)
    for (const program of programs) await this.complete('private copies', program.checkPrivate())
  }

  /** Each look at all pages finds the first damaged one of each peer. */
  private async repair(): Promise<void> {
    const { simulation } = this
    for (let looks = 0; !simulation.checkDigests(); looks++) {
      if (looks === MAX_LOOKS) throw new Violation('liveness', `damaged pages are not repaired: ${this.describe()}`)
      await simulation.runFor(STABLE_MS)
    }
    const repaired = simulation.members.map(({ core }) => core?.root.storeStatus().repairs.repaired ?? 0)
    simulation.coverage.add(
      'pages repaired',
      repaired.reduce((sum, count) => sum + count, 0)
    )
  }

  private async end(contents: Contents): Promise<void> {
    const { clients, coverage, members, pages } = this.simulation
    for (const { client } of clients) {
      countStats(client!, coverage)
      await this.complete('the close of a client', client!.close())
    }
    for (const each of clients) each.client = undefined
    for (const { file, page, bytes } of contents) {
      const committed = pages.committedBytes(file, page).subarray(0, bytes.length)
      if (Buffer.compare(bytes, committed) !== 0)
        throw new Violation('everything is durable in the end', `page ${file}:${page}`)
    }
    await this.until('peers apply everything', () => members.every((peer) => this.isCurrent(peer)))
    await this.until('all tick alike', () => members.every((peer) => this.isInStep(peer)))
    await this.repair()
    this.checkAllReleased()
    await this.endTransfers()
  }

  /** A transfer that is over lets go of the log. The sender looks for such transfers once a second. */
  private async endTransfers(): Promise<void> {
    const { settings, members } = this.simulation
    const { maxIdleMs = Infinity } = settings.peer.snapshots
    if (maxIdleMs > REST_MS / 4) return
    await this.until('transfers end', () =>
      members.every(({ core }) => core?.root.replica.snapshots.heldIndex === undefined)
    )
  }

  // ---- what is left over

  private checkAtRest(): void {
    const { clients, pages } = this.simulation
    const state = this.stateAtLeader()!
    for (const { name, client } of clients) {
      const view = inspectClient(client!)
      if (view.pendingRequests > 0) this.leftOver(`${view.pendingRequests} requests of ${name}`)
      for (const page of view.pages) {
        const left = [
          page.waiters.length > 0 && 'waiters',
          page.flushes.length > 0 && 'flushes',
          page.req !== 0 && 'a fault',
          page.demotion !== undefined && 'an order',
          page.queuedForFault && 'a queued fault',
          page.isHeld && 'a pin',
          page.evicting > 0 && 'an eviction'
        ].filter((each) => each !== false)
        if (left.length > 0) this.leftOver(`page ${page.file}:${page.index} of ${name} has ${left.join(', ')}`)
        // The directory and the clients agree: a client that may write is the owner on record, under the same epoch.
        const owner = state.owner(page.file, page.index)
        if (page.access === 'modified' && (owner.session !== view.session || owner.epoch !== page.epoch)) {
          const facts = `page ${page.file}:${page.index}: ${name}, epoch ${page.epoch}, not ${JSON.stringify(owner)}`
          throw new Violation('directory and clients agree', facts)
        }
      }
      for (const { file, discard, demotion } of view.spaces) {
        if (discard !== undefined || demotion !== undefined) this.leftOver(`an order for file ${file} at ${name}`)
      }
    }
    // A file without a path ends with the last session that maps it. All clients have closed such files.
    for (const { id } of pages.files.values()) {
      const file = state.file(id)
      if (file !== undefined && !file.linked && file.sessions.size === 0) this.leftOver(`file ${id}, which has no path`)
    }
    const stats = this.simulation.leader()!.core!.root.server!.directoryStats()!
    if (stats.operations > 0 || stats.waiting > 0) this.leftOver(`directory: ${JSON.stringify(stats)}`)
  }

  /** Checks clients that have closed all their files. */
  private checkNothingHeld(): void {
    for (const { name, client } of this.simulation.clients) {
      const { frameBytesUsed } = client!.stats()
      const [...spaces] = inspectClient(client!).spaces
      if (frameBytesUsed > 0 || spaces.length > 0)
        this.leftOver(`${frameBytesUsed} bytes, ${spaces.length} files of ${name}`)
    }
  }

  private checkAllReleased(): void {
    const state = this.stateAtLeader()
    const stats = this.simulation.leader()?.core?.root.server?.directoryStats()
    const sessions = this.sessionsAtLeader()
    if (sessions !== 0 || state?.ownedPages() !== 0 || stats?.pages !== 0) {
      this.leftOver(`${sessions} sessions, ${state?.ownedPages()} owned pages, directory: ${JSON.stringify(stats)}`)
    }
    for (const { id, pages } of this.simulation.pages.files.values()) {
      const file = state.file(id)
      if (file?.linked === false) this.leftOver(`file ${id}, which has no path`)
      for (const page of pages.keys()) {
        const isBeyond = file === undefined || page * PAGE_BYTES >= file.size
        if (isBeyond && state.page(id, page).bytes !== undefined) this.leftOver(`bytes of page ${id}:${page}`)
      }
    }
    for (const peer of this.simulation.members) {
      if (peer.core?.root.replica.applier.fault !== undefined) throw peer.core.root.replica.applier.fault
    }
  }

  private leftOver(what: string): never {
    throw new Violation('nothing is left over', what)
  }

  // ---- waiting

  private until(what: string, done: () => boolean, describe = () => this.describe()): Promise<void> {
    // In a cluster that is far apart, everything takes longer.
    const { roundTripMs } = this.simulation.settings.peer
    const ms = (REST_MS * roundTripMs) / DEFAULT_ROUND_TRIP_MS
    return this.simulation.until(what, ms, done, describe)
  }

  private async complete<T>(what: string, promise: Promise<T>, describe = () => this.describe()): Promise<T> {
    let outcome: { value: T } | { error: Error } | undefined
    promise.then(
      (value) => (outcome = { value }),
      (error: unknown) => (outcome = { error: error as Error })
    )
    await this.until(what, () => outcome !== undefined, describe)
    const settled = outcome!
    if (!('error' in settled)) return settled.value
    if (settled.error instanceof Violation) throw settled.error
    throw new Violation('liveness', `${what} failed during quiescence: ${settled.error.name}: ${settled.error.message}`)
  }

  /** Returns a function that says whether the cluster has been whole for long enough that nobody waits for the dead. */
  private stability(): () => boolean {
    const { scheduler, network, members, clients } = this.simulation
    let since = Infinity
    let term = 0
    return () => {
      const status = this.simulation.leader()?.core?.root.node?.status()
      const isAwake = members.every(({ process }) => process?.isAwake === true)
      const isLinked = this.raftStreams() === members.length * (members.length - 1)
      const isWhole = isAwake && isLinked && status?.term === term && clients.every((each) => isSettled(each))
      term = status?.term ?? 0
      since = isWhole ? Math.min(since, Math.max(scheduler.now, network.healedAt)) : Infinity
      const wholeMs = scheduler.now - since
      return wholeMs >= STABLE_MS && wholeMs >= STABLE_MS + 1.5 * this.longestTtlMs()
    }
  }

  /** One stream each way between any two peers. */
  private raftStreams(): number {
    let count = 0
    for (const { protocol } of this.simulation.network.streams) if (protocol === PROTOCOL_RAFT) count++
    return count
  }

  private sessionsAtLeader(): number {
    const state = this.stateAtLeader()
    return state === undefined ? -1 : [...state.sessions()].length
  }

  private stateAtLeader() {
    return this.simulation.leader()?.core?.root.replica.applier.state
  }

  /** A client whose first handshake was slow has asked for a longer TTL, and may have died since. */
  private longestTtlMs(): number {
    const { clients, settings } = this.simulation
    const living = new Set(clients.map(({ client }) => client && inspectClient(client).session))
    const dead = [...(this.stateAtLeader()?.sessions() ?? [])].filter(({ id }) => !living.has(id))
    return Math.max(settings.client.sessionTtlMs, ...dead.map(({ ttlMs }) => ttlMs))
  }

  private isCurrent(peer: SimPeer): boolean {
    return peer.core !== undefined && peer.core.root.replica.applier.appliedIndex >= this.simulation.raft.commitIndex
  }

  /** Timing comes from the log, and is the same at every peer. */
  private isInStep({ core }: SimPeer): boolean {
    const config = core?.root.replica.applier.state.config
    const leading = this.stateAtLeader()?.config
    if (config === undefined || config.roundTripMs !== leading?.roundTripMs) return false
    return core!.root.node!.status().tickMs === timingOf(config.roundTripMs).tickMs
  }

  private describe(): string {
    const nodes = this.simulation.members.map(({ name, core }) => {
      const status = core?.root.node?.status()
      return `${name} ${status?.role} of ${status?.term}, applied ${status?.appliedIndex} of ${status?.lastIndex}`
    })
    const clients = this.simulation.clients.map((each) => {
      const view = each.view()
      const state = view === undefined ? 'unconnected' : view.isEnded ? 'ended' : view.isValid ? 'valid' : 'suspect'
      return `${each.name} ${state}, ${each.running} programs: ${each.programs.map(({ doing }) => doing).join(' ')}`
    })
    const stats = this.simulation.leader()?.core?.root.server?.directoryStats()
    return [...nodes, ...clients, `${this.raftStreams()} raft streams`, JSON.stringify(stats)].join('; ')
  }
}

function isSettled(each: SimClient): boolean {
  const view = each.view()
  return each.process?.isAwake === true && view !== undefined && (view.isValid || view.isEnded)
}
