/** The simulated clients: real ones on a simulated network, and the programs that use them. */
import { createDsmClientOn, type DsmClient } from '@quire/dsm-client'
import { createMappedClientOn, inspectClient, type ClientView, type MappedClient } from '@quire/dsm-client/internal'
import type { RandomSource } from '@quire/testing'
import type { Coverage } from '../coverage.js'
import { SimProcess } from '../process.js'
import type { Scheduler } from '../scheduler.js'
import type { HistoryEvent } from '#linearizability'
import { ClientLog, type History } from './history.js'
import { nameOf } from './ids.js'
import type { SimNetwork } from './network.js'
import type { PageInvariants, ViewedClient } from './page-invariants.js'
import { Program } from './program.js'
import type { ProgramInit, WorkloadSettings } from './program-types.js'
import { FileLocks } from './file-locks.js'
import type { ListingInvariants } from './listing-invariants.js'
import { PrivateUnmaps } from './private-unmaps.js'
import type { UnnamedFiles } from './unnamed-files.js'

/** The share of clients that map their pages, as a client in a thread of its own does. */
const MAPPED_SHARE = 0.3
/** A client that is denied asks again after this time. */
const DENIED_MS = 300

/** The state that the programs of one life share. */
type Shared = Pick<ProgramInit, 'locks' | 'unmaps'>

export interface ClientSettings extends WorkloadSettings {
  readonly cacheBytes: number
  readonly sessionTtlMs: number
  readonly faultTimeoutMs: number
  /** A new client knows the addresses of all peers. Otherwise it knows some, and learns the others. */
  readonly knowsAllPeers: boolean
}

export interface ClientWorld {
  readonly scheduler: Scheduler
  readonly network: SimNetwork
  readonly coverage: Coverage
  readonly random: RandomSource
  readonly settings: ClientSettings
  readonly invariants: PageInvariants
  readonly history: History
  readonly listings: ListingInvariants
  readonly unnamed: UnnamedFiles
  /** The addresses of the peers that a client knows when it starts. */
  readonly peersToAsk: () => readonly string[]
  /** Programs finish their current action and stop. */
  readonly isStopping: () => boolean
  readonly isQuiescent: () => boolean
  readonly onError: (client: SimClient, error: Error) => void
  /** Something ran in a client's process. */
  readonly onTouched: () => void
}

/** Runs one client with its programs through all its lives. */
export class SimClient implements ViewedClient {
  readonly name: string
  process: SimProcess | undefined
  client: DsmClient | undefined
  log: ClientLog | undefined
  /** Set if programs use pages without the page table. */
  private mapped: MappedClient | undefined
  /** Programs of this life that have not ended, and the attempt to connect. */
  running = 0
  /** A user wants the client to run. */
  readonly isInstalled = true
  /** Its session is being closed. */
  isLeaving = false
  /** The programs of this life. */
  programs: Program[] = []
  private life = 0
  private readonly random: RandomSource

  constructor(
    readonly id: string,
    private readonly world: ClientWorld
  ) {
    this.name = nameOf(id)
    this.random = world.random.fork(id)
  }

  view(): ClientView | undefined {
    return this.client === undefined ? undefined : inspectClient(this.client)
  }

  /** Whether one of its programs may be in an action. */
  get isPlaying(): boolean {
    return this.process !== undefined && this.programs.some(({ isPlaying }) => isPlaying)
  }

  start(): void {
    const { scheduler, network, history } = this.world
    const life = ++this.life
    const random = this.random.fork(`life ${life}`)
    const process = new SimProcess(this.name, scheduler, random.fork('process'), random.between(0.9955, 1.0045))
    process.onEnter = this.world.onTouched
    this.process = process
    this.log = new ClientLog(history, this.name, process)
    this.running = 1
    this.programs = []
    const node = network.attach(this.id, process)
    this.connect(process, () => this.open(process, node, random), random)
  }

  crash(withMachine: boolean): void {
    const { process } = this
    if (process === undefined) return
    this.world.coverage.add('client crashes')
    this.end(process, withMachine)
  }

  /** Ends the session in order, then the process. The next life starts by itself. */
  async closeAndLeave(): Promise<void> {
    const { process, client } = this
    if (process === undefined || client === undefined || this.isLeaving) return
    this.isLeaving = true
    this.world.coverage.add('orderly closes of clients')
    try {
      await client.close()
    } catch {
      // Writes that could not be flushed in time are lost with the session.
    }
    if (process.alive) this.end(process, false)
  }

  /** A frame leaves this client's machine. */
  frameSent(protocol: string, frame: Uint8Array): void {
    if (this.client !== undefined) this.log?.frameSent(protocol, frame, inspectClient(this.client).session)
  }

  private end(process: SimProcess, withMachine: boolean): void {
    if (this.client !== undefined) countStats(this.client, this.world.coverage)
    this.log?.killed(this.view())
    process.kill()
    this.process = undefined
    this.client = undefined
    this.isLeaving = false
    this.running = 0
    this.world.network.died(this.id, withMachine)
    this.world.onTouched()
  }

  private async open(
    process: SimProcess,
    node: ReturnType<SimNetwork['attach']>,
    random: RandomSource
  ): Promise<DsmClient> {
    const { settings } = this.world
    const log = this.log!
    const all = this.world.peersToAsk()
    const some = all.slice(random.int(0, 1), random.int(2, 3))
    const peers = settings.knowsAllPeers ? all : some
    const { cacheBytes, sessionTtlMs, faultTimeoutMs } = settings
    const components = { network: node, clock: process.clock, random: random.fork('random') }
    const history = (event: HistoryEvent): unknown => process.alive && log.record(event)
    const init = { peers, cacheBytes, sessionTtlMs, faultTimeoutMs, history }
    this.mapped = undefined
    if (!random.fork('mapped').is(MAPPED_SHARE)) return createDsmClientOn(components, init)
    this.mapped = await createMappedClientOn(components, init)
    return this.mapped.client
  }

  private connect(process: SimProcess, open: () => Promise<DsmClient>, random: RandomSource): void {
    open().then(
      (client) => {
        if (!process.alive) return
        this.client = client
        client.addEventListener('sessionlost', () => this.world.coverage.add('sessions lost'))
        this.running = 0
        const shared = { locks: new FileLocks(), unmaps: new PrivateUnmaps() }
        for (let i = 0; i < this.world.settings.programs; i++) {
          this.run(process, client, shared, random.fork(`program ${i}`))
        }
      },
      (error: unknown) => {
        if (!process.alive) return
        const { name } = error as Error
        const { allowedErrors } = this.world.settings
        const isLasting = name !== 'UnavailableError' && name !== 'NotAuthorizedError'
        if (isLasting || !allowedErrors.has(name)) return this.world.onError(this, error as Error)
        if (name === 'UnavailableError') {
          this.world.coverage.add('clients that found nobody in time')
          return this.connect(process, open, random)
        }
        // An admin may let the client in again.
        process.after('timer', DENIED_MS, `${this.name} tries again`, () => this.connect(process, open, random))
      }
    )
  }

  private run(process: SimProcess, client: DsmClient, shared: Shared, random: RandomSource): void {
    this.running++
    const program = this.program(process, client, shared, random)
    this.programs.push(program)
    program.run().then(
      () => {
        if (process.alive) this.running--
      },
      (error: unknown) => {
        if (process.alive) this.world.onError(this, error as Error)
      }
    )
  }

  private program(process: SimProcess, client: DsmClient, shared: Shared, random: RandomSource): Program {
    const { settings, invariants, coverage, history, listings, unnamed, isStopping, isQuiescent } = this.world
    const { name, log, mapped } = this
    const { clock } = process
    const base = {
      name,
      client,
      mapped,
      clock,
      random,
      settings,
      log: log!,
      history,
      listings,
      unnamed,
      invariants,
      coverage
    }
    return new Program({ ...base, ...shared, isStopping, isQuiescent })
  }

  /** Returns a program for the end of the seed. */
  finalProgram(random: RandomSource): Program {
    return this.program(this.process!, this.client!, { locks: new FileLocks(), unmaps: new PrivateUnmaps() }, random)
  }
}

export function countStats(client: DsmClient, coverage: Coverage): void {
  const { counters } = inspectClient(client)
  coverage.add('read faults', counters.readFaults)
  coverage.add('write faults', counters.writeFaults)
  coverage.add('upgrades', counters.upgradeFaults)
  coverage.add('downgrades', counters.downgrades)
  coverage.add('handovers', counters.handovers)
  coverage.add('invalidations', counters.invalidations)
  coverage.add('evictions', counters.evictions)
  coverage.add('pages written back', counters.writebacks)
  coverage.add('pages written back as diffs', counters.diffs)
  coverage.add('holds', counters.holds)
  coverage.add('pages read ahead', counters.readAheads)
  coverage.add('pages read ahead in vain', counters.readAheadsWasted)
}
