/** One run on a cluster: clients with their workloads, faults, and the verdict. */
import { parseHistory } from '#linearizability'
import { createRandomSource } from '@quire/testing'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { Client } from './client/client.js'
import { begunIn, withEpitaph } from './client/epitaph.js'
import type { ClientAsk, Report } from './client/messages.js'
import type { Cluster } from './cluster/cluster.js'
import type { Fault } from './faults/fault.js'
import { isHalt } from './halt.js'
import type { Machine, Machines } from './machines/machine.js'
import { makeTrouble } from './nemesis.js'
import { schedule } from './schedule.js'
import { Timeline } from './timeline.js'
import { verdictOf, type Verdict } from './verdict.js'
import { WORKLOADS } from './workloads/index.js'

export interface RunSettings {
  /** Takes histories and logs. */
  readonly folder: string
  readonly seed: number
  readonly minutes: number
  readonly clients: number
  /** Faults come this many times as often. */
  readonly rate: number
  readonly log: (line: string) => void
}

export interface RunInit<C extends Cluster> extends RunSettings {
  readonly cluster: C
  readonly faults: readonly Fault<C>[]
  /** Where the clients live. */
  readonly machines: Machines
  /** The beginning of all paths in the cluster. */
  readonly place: string
}

export interface Outcome extends Verdict {
  readonly timeline: Timeline
  /** The names of the clients, by PeerId. */
  readonly clients: ReadonlyMap<string, string>
  readonly rejected: Readonly<Record<string, number>>
  /** Why the run could not go on, for a reason outside Quire. Its verdict is about what happened until then. */
  readonly halted: string | undefined
  /** The names of the faults that the run could have made, and has not. */
  readonly left: readonly string[]
  /** See `Cluster.logged`. */
  readonly logged: readonly (readonly [what: string, count: number])[]
}

const SESSION_TTL_MS = 10_000
const FAULT_TIMEOUT_MS = 30_000
/** How soon each program must go on when all faults are over. */
const PROGRESS_MS = 30_000
/** The last step of a program, and what it makes durable. */
const STOP_MS = 4 * FAULT_TIMEOUT_MS + 30_000
const LEADER_POLL_MS = 1_000

export async function run<C extends Cluster>(init: RunInit<C>): Promise<Outcome> {
  const chaos = new Run(init)
  return chaos.run()
}

/** Carries one run out. */
class Run<C extends Cluster> {
  private readonly timeline = new Timeline()
  private readonly wrong: string[] = []
  private halted: string | undefined
  private readonly rejected: Record<string, number> = {}
  private readonly sizes = new Map<string, number>()
  /** When each program of each client has last ended an operation, in nanoseconds, by `client workload`. */
  private readonly workedAt = new Map<string, number>()
  private readonly clients: Client[] = []
  /** By index, from 1: the names of all clients, also of those that were killed. */
  private readonly names: string[] = []
  private readonly killed: { readonly ask: ClientAsk; readonly atNs: number }[] = []

  constructor(private readonly init: RunInit<C>) {}

  async run(): Promise<Outcome> {
    const { cluster, folder, log } = this.init
    const watching = this.watchLeaders()
    try {
      await this.startClients()
      await this.progress()
      await this.makeTrouble()
    } catch (error) {
      this.failed(error)
    }
    await cluster.heal().catch((error: unknown) => this.failed(error))
    const ends = await this.finish()
    watching.abort()
    for (const [what, count] of cluster.complaints()) this.wrong.push(`${count} ${what}`)
    this.bury()
    const histories = this.textsOf((index) => this.historyOf(index))
    const notes = this.textsOf((index) => this.notesOf(index))
    const { timeline, wrong, rejected, sizes } = this
    writeFileSync(join(folder, 'files.json'), `${JSON.stringify(Object.fromEntries(sizes))}\n`)
    log('judging the history')
    const kinds = this.init.faults.map(({ kind }) => kind)
    const verdict = verdictOf({ history: histories.join(''), sizes, notes, ends, wrong, kinds, rejected })
    const clients = new Map(histories.flatMap((history, i) => idsOf(history).map((id) => [id, this.names[i]!])))
    const made = new Set(timeline.faults.map(({ fault }) => fault))
    const left = this.init.faults.map(({ name }) => name).filter((name) => !made.has(name))
    return { ...verdict, timeline, clients, rejected, halted: this.halted, left, logged: cluster.logged() }
  }

  private failed(error: unknown): void {
    const { message } = error as Error
    if (isHalt(error)) this.halted ??= message
    else this.wrong.push(message)
  }

  private historyOf(index: number): string {
    return join(this.init.folder, `history-${index}.ndjson`)
  }

  private notesOf(index: number): string {
    return join(this.init.folder, `notes-${index}.ndjson`)
  }

  private async startClients(): Promise<void> {
    const { machines, clients } = this.init
    for (let seat = 1; seat <= clients; seat++)
      this.clients.push(this.startClient(await machines.add(`client${seat}`), seat))
  }

  private startClient(machine: Machine, seat: number): Client {
    const { cluster, place, folder, seed } = this.init
    const index = this.names.push(machine.name)
    const ask = {
      peers: cluster.addresses,
      folder: place,
      index,
      seat,
      seed,
      sessionTtlMs: SESSION_TTL_MS,
      faultTimeoutMs: FAULT_TIMEOUT_MS,
      history: this.historyOf(index),
      begun: join(folder, `begun-${index}.json`),
      notes: this.notesOf(index)
    }
    const onReport = (report: Report): void => this.reported(machine.name, report)
    return new Client({ machine, ask, log: join(folder, `${machine.name}.log`), onReport })
  }

  /** A new client with an index of its own takes the place of one that was killed. */
  private replace(client: Client): Promise<void> {
    this.killed.push({ ask: client.ask, atNs: Number(process.hrtime.bigint()) })
    this.clients[this.clients.indexOf(client)] = this.startClient(client.machine, client.ask.seat)
    return Promise.resolve()
  }

  /** The histories of clients that were killed say so. */
  private bury(): void {
    for (const { ask, atNs } of this.killed) {
      const history = readFileSync(ask.history, 'utf8')
      writeFileSync(ask.history, withEpitaph({ history, begun: begunIn(ask.begun), sizes: this.sizes, atNs }))
    }
  }

  /** The texts of the files that all clients have written, in the order of their indexes. */
  private textsOf(nameOf: (index: number) => string): string[] {
    return this.names.map((_, i) => readFileSync(nameOf(i + 1), 'utf8'))
  }

  private reported(client: string, report: Report): void {
    switch (report.type) {
      case 'progress':
        for (const [workload, { latencies, endNs }] of Object.entries(report.done)) {
          this.timeline.worked(workload, latencies)
          if (endNs !== undefined) this.workedAt.set(`${client} ${workload}`, endNs)
        }
        break
      case 'recorded':
        this.sizes.set(report.file, report.size)
        break
      case 'rejected':
        this.rejected[report.error] = (this.rejected[report.error] ?? 0) + 1
        break
      case 'wrong':
        this.init.log(`WRONG: ${client}, ${report.workload}: ${report.message}`)
        this.wrong.push(`${client}, ${report.workload}: ${report.message}`)
        break
      case 'stopped':
      case 'ended':
        // The order that asked for it has the answer.
        break
    }
  }

  private async makeTrouble(): Promise<void> {
    const { cluster, faults, minutes, rate, seed, log } = this.init
    const random = createRandomSource(seed)
    const rounds = schedule(faults, minutes, random.fork('schedule'), rate)
    const world = {
      cluster,
      clients: this.clients,
      replace: (client: Client) => this.replace(client),
      random: random.fork('faults'),
      pause: (ms: number) => pause(ms)
    }
    const { timeline } = this
    const roundMs = (minutes * 60_000) / rounds.length
    await makeTrouble(rounds, { world, timeline, random, roundMs, progress: () => this.progress(), log })
  }

  /** Resolves when each program of each client has ended an operation from now on. Reports have earlier ones, too. */
  private async progress(): Promise<void> {
    const since = this.timeline.nowMs
    const sinceNs = Number(process.hrtime.bigint())
    const late = (): string[] =>
      this.clients
        .flatMap(({ name }) => WORKLOADS.map((workload) => `${name} ${workload.name}`))
        .filter((key) => (this.workedAt.get(key) ?? 0) <= sinceNs)
    while (late().length > 0) {
      const dead = this.clients.find(({ isUp }) => !isUp)
      if (dead !== undefined) throw new Error(`${dead.name} has ended: ${dead.end}`)
      if (this.timeline.nowMs > since + PROGRESS_MS)
        throw new Error(`no progress ${PROGRESS_MS / 1_000} s after the faults: ${late().join(', ')}`)
      await pause(100)
    }
  }

  /** Ends all clients. Resolves with what is left, by workload. */
  private async finish(): Promise<Readonly<Record<string, unknown>>> {
    const failed = (error: unknown): void => this.failed(error)
    for (const client of this.clients) client.resume()
    await Promise.all(this.clients.map((client) => client.stop(STOP_MS).catch(failed)))
    const ends = (await this.clients[0]?.readEnd(STOP_MS).catch(failed)) ?? {}
    await Promise.all(this.clients.map((client) => client.leave(STOP_MS)))
    return ends
  }

  private watchLeaders(): AbortController {
    const { operator } = this.init.cluster
    const watching = new AbortController()
    const watch = async (): Promise<void> => {
      while (!watching.signal.aborted) {
        const leader = await operator.leaderNow()
        if (!watching.signal.aborted) this.timeline.leads(leader?.name)
        await pause(LEADER_POLL_MS)
      }
    }
    watch().catch((error: unknown) => this.wrong.push(`watching the leader: ${(error as Error).message}`))
    return watching
  }
}

/** The PeerIds in a history. */
function idsOf(history: string): string[] {
  return [...new Set(parseHistory(history).map(({ client }) => client))]
}
