/** One seed: a cluster with clients, faults for a while, then peace, in which everything must come to rest and agree. */
import {
  PROTOCOL_BULK,
  PROTOCOL_CONTROL,
  PROTOCOL_RAFT,
  clientMessage,
  decodeFrame,
  leaderMessage,
  raftMessage
} from '@quire/protocol'
import type { DsmClient } from '@quire/dsm-client'
import { inspectClient } from '@quire/dsm-client/inspect'
import type { Applied } from '@quire/store/peer-core'
import { countStats, SimClient } from './clients.js'
import { Coverage } from './coverage.js'
import { Faults } from './faults.js'
import { CLIENT_IDS, PEER_IDS, nameOf, withNames } from './ids.js'
import { SimNetwork } from './network.js'
import { PageInvariants } from './page-invariants.js'
import { SimPeer, type Sabotage } from './peers.js'
import { createChance, type Chance } from './random.js'
import { RaftInvariants } from './raft-invariants.js'
import { Scheduler } from './scheduler.js'
import { drawSettings, type Settings } from './settings.js'
import { Violation } from './violation.js'
import { Program } from './workload.js'

export interface SimulationInit {
  readonly seed: number
  readonly settings?: (drawn: Settings) => Settings
  /** Called for each line of the trace. */
  readonly trace?: (line: string) => void
  readonly sabotage?: Sabotage
}

export interface SimulationResult {
  readonly seed: number
  readonly events: number
  readonly virtualMs: number
  readonly traceHash: string
  readonly coverage: Coverage
  readonly failure: Error | undefined
}

/** In peace, everything that was waiting has ended by then: connections are found dead, elections held, leases run out. */
const REST_MS = 40_000
const DIGEST_MS = 500
const STABLE_MS = 1000

export async function simulate(init: SimulationInit): Promise<SimulationResult> {
  const simulation = new Simulation(init)
  return simulation.run()
}

class Simulation {
  private readonly scheduler = new Scheduler()
  private readonly coverage = new Coverage()
  private readonly chance: Chance
  private readonly settings: Settings
  private readonly network: SimNetwork
  private readonly peers: SimPeer[]
  private readonly clients: SimClient[]
  private readonly raft: RaftInvariants
  private readonly pages: PageInvariants
  private readonly faults: Faults
  private readonly digests = new Map<number, string>()
  private stopping = false
  private failure: Error | undefined

  constructor(private readonly init: SimulationInit) {
    const { scheduler, coverage } = this
    this.chance = createChance(init.seed)
    const drawn = drawSettings(this.chance.fork('settings'))
    this.settings = init.settings?.(drawn) ?? drawn
    const { settings } = this
    this.network = new SimNetwork({ ...settings.network, scheduler, coverage, chance: this.chance.fork('network') })
    this.pages = new PageInvariants(
      () => this.clients,
      () => scheduler.now
    )
    const { network, pages } = this
    this.peers = PEER_IDS.map(
      (id) =>
        new SimPeer(id, {
          scheduler,
          network,
          coverage,
          chance: this.chance.fork('peers'),
          settings: settings.peer,
          sabotage: init.sabotage ?? {},
          onApplied: (peer, index, applied) => this.guard(() => this.applied(peer, index, applied)),
          onFatal: (peer, error) => this.fail(new Error(`${peer.name} stopped: ${error.message}`, { cause: error }))
        })
    )
    this.clients = CLIENT_IDS.slice(0, settings.clients).map(
      (id) =>
        new SimClient(id, {
          scheduler,
          network,
          coverage,
          chance: this.chance.fork('clients'),
          settings: settings.client,
          invariants: pages,
          isStopping: () => this.stopping,
          onError: (client, error) => this.fail(new Error(`${client.name}: ${error.message}`, { cause: error }))
        })
    )
    this.raft = new RaftInvariants(this.peers, coverage)
    this.faults = new Faults({
      scheduler,
      coverage,
      network,
      peers: this.peers,
      clients: this.clients,
      settings: settings.faults,
      chance: this.chance.fork('faults')
    })
    network.onHandlerError = (error) => this.fail(new Error(`a handler threw: ${error.message}`, { cause: error }))
    network.onDeliver = (from, to, protocol, frame) => this.delivered(from, to, protocol, frame)
    scheduler.afterEvent = () => this.check()
    if (init.trace !== undefined) {
      const { trace } = init
      scheduler.onTrace = ({ at, label }) => trace(`${at.toFixed(3).padStart(10)}  ${withNames(label)}`)
    }
  }

  async run(): Promise<SimulationResult> {
    const onUnhandled = (error: unknown): void =>
      this.fail(new Error(`unhandled rejection: ${String(error)}`, { cause: error }))
    process.on('unhandledRejection', onUnhandled)
    try {
      await this.play()
    } catch (error) {
      this.fail(error as Error)
    } finally {
      process.off('unhandledRejection', onUnhandled)
    }
    const { scheduler, coverage, failure } = this
    coverage.add('events', scheduler.events)
    return {
      seed: this.init.seed,
      events: scheduler.events,
      virtualMs: scheduler.now,
      traceHash: scheduler.traceHash,
      coverage,
      failure
    }
  }

  private async play(): Promise<void> {
    const { scheduler, settings } = this
    for (const peer of this.peers) peer.start()
    for (const client of this.clients) client.start()
    this.digestRegularly()
    await this.runFor(500)
    this.faults.start()
    await this.runFor(settings.faultyMs)
    this.note('--- peace')
    this.faults.stop()
    this.stopping = true
    // What was called before the peace may still run into its time-out; what is called from now on must not.
    await this.until('programs end', () =>
      this.clients.every(({ client, running, isLeaving }) => client !== undefined && running === 0 && !isLeaving)
    )
    // Links come back, a leader is found, and sessions that the faults have cost learn it.
    await this.until('the cluster is whole again', this.stableFor(STABLE_MS))
    this.note('--- rest')
    await this.agree()
    scheduler.note(this.raft.commitIndex)
  }

  private async agree(): Promise<void> {
    const live = this.clients.map((each) => {
      const { client, process } = each
      if (client === undefined || process === undefined) throw new Violation('liveness', `${each.name} is not there`)
      return { name: each.name, client, process }
    })
    const programs = live.map(({ name, client, process }) => this.program(name, client, process.clock))
    for (const program of programs) await this.complete('a visit of all pages', program.visitAll())
    const all = []
    for (const program of programs) all.push(await this.complete('a reading of all pages', program.readAll()))
    for (const [i, pages] of all.entries()) {
      for (const [j, { file, page, bytes }] of pages.entries()) {
        const first = all[0]![j]
        if (first?.file !== file || first.page !== page || Buffer.compare(first.bytes, bytes) !== 0) {
          throw new Violation(
            'all agree in the end',
            `${live[i]!.name} reads page ${file}:${page} otherwise than ${live[0]!.name}`
          )
        }
      }
    }
    await this.until('sessions of the dead expire', () => this.sessionsAtLeader() === live.length)
    for (const { client } of live) this.checkClientAtRest(client)
    this.checkDirectoryAtRest()
    for (const { client } of live) {
      const session = Number(client.session.id)
      countStats(client, this.coverage)
      await this.complete('the close of a client', client.close())
      this.pages.closed(session)
    }
    for (const each of this.clients) each.client = undefined
    for (const { file, page, bytes } of all[0] ?? []) this.pages.checkFinal(file, page, bytes)
    await this.until('peers apply everything', () => this.peers.every((peer) => this.isCurrent(peer)))
    this.checkDigests()
    this.checkAllReleased()
  }

  private program(name: string, client: DsmClient, clock: ConstructorParameters<typeof Program>[0]['clock']): Program {
    return new Program({
      name,
      client,
      clock,
      chance: this.chance.fork(`end ${name}`),
      settings: this.settings.client,
      invariants: this.pages,
      coverage: this.coverage,
      isStopping: () => true,
      isLeaving: () => false
    })
  }

  // ---- time

  private async runFor(ms: number): Promise<void> {
    await this.scheduler.run(this.scheduler.now + ms, () => this.failure !== undefined)
    if (this.failure !== undefined) throw this.failure
  }

  private async until(what: string, done: () => boolean): Promise<void> {
    const from = this.scheduler.now
    const reached = await this.scheduler.run(from + REST_MS, () => this.failure !== undefined || done())
    if (this.failure !== undefined) throw this.failure
    if (!reached) {
      const facts = `not within ${REST_MS} ms from ${from.toFixed(1)}: ${this.describe()}`
      throw new Violation('liveness', `${what}: ${facts}`)
    }
  }

  private describe(): string {
    const nodes = this.peers.map(({ name, core }) => {
      const status = core?.node?.status()
      return `${name} ${status?.role} of ${status?.term}, applied ${status?.appliedIndex} of ${status?.lastIndex}`
    })
    const clients = this.clients.map((each) => {
      const view = each.view()
      const state = view === undefined ? 'unconnected' : view.isEnded ? 'ended' : view.isValid ? 'valid' : 'suspect'
      return `${each.name} ${state}, ${each.running} programs`
    })
    return [...nodes, ...clients, `${this.raftStreams()} raft streams`].join('; ')
  }

  private async complete<T>(what: string, promise: Promise<T>): Promise<T> {
    let outcome: { value: T } | { error: Error } | undefined
    promise.then(
      (value) => (outcome = { value }),
      (error: unknown) => (outcome = { error: error as Error })
    )
    await this.until(what, () => outcome !== undefined)
    const settled = outcome!
    if ('error' in settled) {
      throw new Violation('liveness', `${what} failed in peace: ${settled.error.name}: ${settled.error.message}`)
    }
    return settled.value
  }

  // ---- checks

  private check(): void {
    if (this.failure !== undefined) return
    this.guard(() => {
      this.raft.check()
      this.pages.check()
    })
  }

  private digestRegularly(): void {
    this.scheduler.after(DIGEST_MS, 'digests', () => {
      this.guard(() => this.checkDigests())
      this.digestRegularly()
    })
  }

  /** Replicas that have applied the same are the same. */
  private checkDigests(): void {
    for (const peer of this.peers) {
      const applier = peer.core?.replica.applier
      if (applier === undefined) continue
      const { appliedIndex } = applier
      const digest = applier.state.digest()
      const other = this.digests.get(appliedIndex) ?? digest
      if (other !== digest) throw new Violation('replicas are equal', `${peer.name} differs at entry ${appliedIndex}`)
      this.digests.set(appliedIndex, digest)
    }
  }

  private stableFor(ms: number): () => boolean {
    let since = Infinity
    let term = 0
    return () => {
      const { now } = this.scheduler
      const status = this.leader()?.core?.node?.status()
      const isAwake = this.peers.every(({ process }) => process?.stalled === false)
      const isLinked = this.raftStreams() === 6
      const isWhole = isAwake && isLinked && status?.term === term && this.clients.every((each) => isSettled(each))
      term = status?.term ?? 0
      since = isWhole ? Math.min(since, now) : Infinity
      return now - since >= ms
    }
  }

  /** One each way between any two peers. */
  private raftStreams(): number {
    let count = 0
    for (const { protocol } of this.network.streams) if (protocol === PROTOCOL_RAFT) count++
    return count
  }

  /** Of the highest term: one that still sleeps may take itself for the leader. */
  private leader(): SimPeer | undefined {
    let found: SimPeer | undefined
    let highest = 0
    for (const peer of this.peers) {
      const status = peer.core?.node?.status()
      if (status?.ready !== true || status.term < highest) continue
      found = peer
      highest = status.term
    }
    return found
  }

  private sessionsAtLeader(): number {
    const state = this.leader()?.core?.replica.applier.state
    return state === undefined ? -1 : [...state.sessions()].length
  }

  private isCurrent(peer: SimPeer): boolean {
    return peer.core !== undefined && peer.core.replica.applier.appliedIndex >= this.raft.commitIndex
  }

  private checkClientAtRest(client: DsmClient): void {
    const { pages, pendingRequests } = inspectClient(client)
    if (pendingRequests > 0) throw new Violation('nothing is left over', `${pendingRequests} requests of a client`)
    for (const page of pages) {
      const left = [
        page.waiters.length > 0 && 'waiters',
        page.flushes.length > 0 && 'flushes',
        page.req !== 0 && 'a fault',
        page.order !== undefined && 'an order',
        page.queuedForFault && 'a queued fault',
        page.pinned && 'a pin'
      ].filter((each) => each !== false)
      if (left.length > 0) {
        throw new Violation('nothing is left over', `page ${page.file}:${page.index} has ${left.join(', ')}`)
      }
    }
  }

  private checkDirectoryAtRest(): void {
    const stats = this.leader()?.core?.directory?.stats()
    if (stats === undefined || stats.operations > 0 || stats.waiting > 0) {
      throw new Violation('nothing is left over', `directory: ${JSON.stringify(stats)}`)
    }
  }

  private checkAllReleased(): void {
    const leader = this.leader()
    const state = leader?.core?.replica.applier.state
    const stats = leader?.core?.directory?.stats()
    const sessions = this.sessionsAtLeader()
    if (sessions !== 0 || state?.ownedPages() !== 0 || stats?.pages !== 0) {
      const facts = `${sessions} sessions, ${state?.ownedPages()} owned pages, directory: ${JSON.stringify(stats)}`
      throw new Violation('nothing is left over', facts)
    }
    for (const peer of this.peers) {
      if (peer.core?.replica.applier.fault !== undefined) throw peer.core.replica.applier.fault
    }
  }

  private applied(peer: SimPeer, index: number, applied: Applied | undefined): void {
    if (applied?.type === 'session-ended' && applied.expired && index > this.pages.lastIndex)
      this.coverage.add('expiries')
    this.pages.applied(peer, index, applied)
  }

  // ---- what travels

  private delivered(from: string, to: string, protocol: string, frame: Uint8Array): void {
    if (this.init.trace !== undefined) this.traceFrame(from, to, protocol, frame)
    if (protocol !== PROTOCOL_CONTROL) return
    if (nameOf(to).startsWith('peer')) this.countReconnects(frame)
    else this.countCrossings(to, frame)
  }

  private countReconnects(frame: Uint8Array): void {
    if (frame[2] !== 2) return
    const { message } = decodeFrame(clientMessage, frame)
    if (message.type === 'register' && message.session !== 0) this.coverage.add('reconnects')
  }

  /** Orders that meet something under way at the client. */
  private countCrossings(to: string, frame: Uint8Array): void {
    // Group 0 and trace 0 take a byte each, then comes the message's tag.
    if (frame[2]! < 22 || frame[2]! > 24) return
    const view = this.clients.find(({ id }) => id === to)?.view()
    if (view === undefined) return
    const { message } = decodeFrame(leaderMessage, frame)
    if (message.type !== 'invalidate' && message.type !== 'revoke' && message.type !== 'downgrade') return
    for (const page of view.pages) {
      if (page.file !== message.file || page.index !== message.page) continue
      if (page.req !== 0 && page.req === message.after) this.coverage.add('orders held back for a grant')
      else if (page.req !== 0) this.coverage.add(`${message.type}s that crossed a fault`)
      if (page.writing) this.coverage.add(`${message.type}s that crossed a writeback`)
      if (page.pinned) this.coverage.add(`${message.type}s that met a pin`)
      if (message.type === 'downgrade' && page.dirty) this.coverage.add('downgrades with dirty bytes')
      if (message.type === 'revoke' && page.dirty) this.coverage.add('revokes with dirty bytes')
    }
  }

  private traceFrame(from: string, to: string, protocol: string, frame: Uint8Array): void {
    const isClients = protocol === PROTOCOL_CONTROL || protocol === PROTOCOL_BULK
    const isFromPeer = nameOf(from).startsWith('peer')
    const codec = !isClients ? raftMessage : isFromPeer ? leaderMessage : clientMessage
    const { message } = decodeFrame<unknown>(codec, frame)
    const text = JSON.stringify(message, (_key, value: unknown) =>
      value instanceof Uint8Array ? `<${value.length} bytes>` : value
    )
    this.note(`  ${nameOf(from)}>${nameOf(to)} ${withNames(text)}`)
  }

  private note(line: string): void {
    this.init.trace?.(line)
  }

  private guard(run: () => void): void {
    try {
      run()
    } catch (error) {
      this.fail(error as Error)
    }
  }

  private fail(error: Error): void {
    this.failure ??= error
  }
}

function isSettled(each: SimClient): boolean {
  const view = each.view()
  return each.process?.stalled === false && view !== undefined && (view.isValid || view.isEnded)
}
