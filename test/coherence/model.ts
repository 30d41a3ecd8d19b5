/**
 * The two halves of the coherence protocol against each other: the directory over a real state machine, and the
 * coherence cores of clients. Lanes between them keep the order of each lane, but not between lanes. There is no driver
 * and no time: a seed picks the next step. Every access is checked against the one value that the page has at that
 * moment.
 */
import { strict as assert } from 'node:assert'
import { joinClientRuns, joinLeaderRuns, type ClientMessage, type LeaderMessage } from '@quire/protocol'
import { Coherence } from '../../packages/dsm-client/src/core/coherence.js'
import type { CoherenceObserver } from '../../packages/dsm-client/src/core/effects.js'
import { createSlabFrameProvider } from '../../packages/dsm-client/src/core/frames.js'
import type { Page } from '../../packages/dsm-client/src/core/page.js'
import { zeroCounters, type CoherenceCounters } from '../../packages/dsm-client/src/core/stats.js'
import { Directory } from '../../packages/store/src/directory/directory.js'
import type { CoherenceMessage } from '../../packages/store/src/directory/types.js'
import { joinHandovers } from '../../packages/store/src/server/handover-runs.js'
import { encodeCommand, type Command } from '../../packages/store/src/state/commands.js'
import type { StateStore, StoredPage } from '../../packages/store/src/state/records.js'
import { createStateMachine, type StateMachine } from '../../packages/store/src/state/state-machine.js'
import type { Applied } from '../../packages/store/src/state/view.js'

const PAGE_BYTES = 4096
/** A page has the values that were written to it in turn, each in the next cell. So a diff without its base shows. */
const CELLS = 8
const CELL_BYTES = PAGE_BYTES / CELLS
/** The model looks for effects after each call. */
const SILENT: CoherenceObserver = { output() {}, writing() {}, written() {} }
/** Sixteen frames and one twin, so that more pages must be reclaimed; or room for all frames and sixteen twins. */
const CACHE_BYTES = [65_536, 1024 * 1024]
/** Runs with bytes have three pages at most, so that grants come in parts. */
const MAX_RUN_BYTES = 3 * PAGE_BYTES

export interface ModelOptions {
  readonly clients: number
  readonly pages: number
  readonly steps: number
  /** Probabilities per step. */
  readonly breaks?: number
  readonly elections?: number
  readonly expiries?: number
}

const LANES = ['control', 'bulk'] as const
type LaneName = (typeof LANES)[number]

interface Client {
  readonly name: number
  session: number
  core: Coherence
  connected: boolean
  seq: number
  readonly toLeader: Record<LaneName, ClientMessage[]>
  readonly toClient: Record<LaneName, LeaderMessage[]>
  /** The last value that this client wrote to each page. */
  readonly written: Map<number, number>
  pins: { page: number; write: boolean; bytes: Uint8Array; pinned: Page }[]
  waiting: number
}

export class CoherenceModel {
  private readonly machine: StateMachine
  /** Of the current term. */
  private directory: Directory
  private readonly clients: Client[] = []
  private readonly stored = new Map<string, StoredPage>()
  private timeMs = 0
  private proposals: Command[] = []
  private term = 1
  private file = 0
  /** The counter of each page, by the last write that counts. */
  private readonly truth = new Map<number, number>()
  readonly counts = { reads: 0, writes: 0, elections: 0, expiries: 0, breaks: 0, flushes: 0, evictions: 0, diffs: 0 }

  constructor(
    private readonly random: () => number,
    private readonly options: ModelOptions
  ) {
    this.machine = createStateMachine(this.store())
    this.machine.apply(1, 'noop', new Uint8Array())
    this.directory = new Directory(this.term, this.machine)
    for (let name = 0; name < options.clients; name++) this.clients.push(this.newClient(name))
    for (const client of this.clients) this.begin(client)
  }

  run(): void {
    for (let step = 0; step < this.options.steps; step++) this.step()
    this.heal()
  }

  // ---- steps

  private step(): void {
    const { breaks = 0, elections = 0, expiries = 0 } = this.options
    const draw = this.random()
    if (draw < breaks) return this.breakConnection(this.pick(this.clients))
    if (draw < breaks + elections) return this.elect()
    if (draw < breaks + elections + expiries) return this.expire(this.pick(this.clients))
    this.quietStep()
  }

  private quietStep(): void {
    const client = this.pick(this.clients)
    const kind = this.random()
    if (kind < 0.12) this.operate(client)
    else if (kind < 0.3) this.commit()
    else if (kind < 0.35 && !client.connected) this.reconnect(client)
    else if (kind < 0.4) this.release(client)
    else this.deliver(client)
  }

  private operate(client: Client): void {
    if (client.waiting > 40) return
    const page = Math.floor(this.random() * this.options.pages)
    const kind = this.random()
    if (kind < 0.1) return this.flush(client, page)
    const write = kind < 0.5
    // Several pages in one step, whose messages form a run.
    const end = this.random() < 0.3 ? this.options.pages : page + 1
    for (let at = page; at < end; at++) this.access(client, at, write)
    this.drain(client)
  }

  private access(client: Client, page: number, write: boolean): void {
    const pin = this.random() < 0.2 && client.pins.length === 0
    let ran = false
    const { session } = client
    client.waiting++
    client.core.access(this.file, page, {
      access: write ? 'write' : 'read',
      pin,
      run: (bytes, pinned) => {
        assert(!ran, 'a waiter ran twice')
        ran = true
        client.waiting--
        this.touch(client, page, bytes, write)
        if (pin) client.pins.push({ page, write, bytes, pinned })
      },
      fail: (error) => {
        client.waiting--
        assert(client.session !== session || error.name === 'CacheFullError', `access failed: ${error.message}`)
      }
    })
  }

  private touch(client: Client, page: number, bytes: Uint8Array, write: boolean): void {
    const value = valueOf(bytes)
    const expected = this.truth.get(page) ?? 0
    assert.equal(
      value,
      expected,
      `client ${client.name} ${write ? 'writes on' : 'reads'} page ${page}: ${value}, not ${expected}`
    )
    if (!write) {
      this.counts.reads++
      return
    }
    this.counts.writes++
    const cell = ((value + 1) % CELLS) * CELL_BYTES
    new DataView(bytes.buffer, bytes.byteOffset).setUint32(cell, value + 1, true)
    this.truth.set(page, value + 1)
    client.written.set(page, value + 1)
  }

  private flush(client: Client, page: number): void {
    const { session } = client
    const promised = client.written.get(page) ?? 0
    let left = 0
    const done = () => {
      if (--left > 0) return
      this.counts.flushes++
      // A newer value may have been stored since, but never an older one.
      const stored = this.storedValue(page)
      assert(
        stored >= promised,
        `flush of page ${page} by client ${client.name} acknowledged ${promised}, stored is ${stored}`
      )
    }
    const fail = (error: Error) => assert(client.session !== session, `flush failed: ${error.message}`)
    left = client.core.flush(this.file, page, page, done, fail)
    if (left === 0) {
      left = 1
      done()
    }
    this.drain(client)
  }

  private release(client: Client): void {
    const pin = client.pins.shift()
    if (pin === undefined) return
    // A pinned page is coherent until this moment, and may be written until then.
    this.touch(client, pin.page, pin.bytes, pin.write)
    client.core.unpin(pin.pinned, pin.write ? 'write' : 'read')
    this.drain(client)
  }

  private deliver(client: Client): void {
    // A page that is held back for a while is given up after some deliveries.
    client.core.advance((this.timeMs += 0.5))
    this.drain(client)
    const lanes = [
      () => this.atLeader(client, 'control'),
      () => this.atLeader(client, 'bulk'),
      () => this.atClient(client, 'control'),
      () => this.atClient(client, 'bulk')
    ]
    this.pick(lanes)()
  }

  private atLeader(client: Client, lane: LaneName): void {
    const message = client.toLeader[lane].shift()
    if (message === undefined) return
    this.directory.receive(client.session, message as CoherenceMessage)
    this.carryOut()
  }

  private atClient(client: Client, lane: LaneName): void {
    const message = client.toClient[lane].shift()
    if (message === undefined) return
    client.core.receive(message)
    this.drain(client)
  }

  /** Makes one proposal an entry. */
  private commit(): void {
    const command = this.proposals.shift()
    if (command !== undefined) this.apply(command)
  }

  private apply(command: Command): number {
    const outcome = this.commitCommand(command)
    if (outcome !== undefined) this.directory.applied(outcome)
    this.carryOut()
    return this.machine.appliedIndex
  }

  private commitCommand(command: Command): Applied | undefined {
    return this.machine.apply(this.machine.appliedIndex + 1, 'normal', encodeCommand(command))
  }

  private carryOut(): void {
    const effects = this.directory.effects()
    const commands = effects.flatMap((effect) => (effect.type === 'propose' ? [effect.command] : []))
    for (const command of joinHandovers(commands)) this.proposals.push({ ...command, at: 0 })
    // No page of this store is damaged.
    const sends = effects.filter((effect) => effect.type === 'send')
    for (const client of this.clients) {
      if (!client.connected) continue
      for (const lane of LANES) {
        const messages = sends.filter((send) => send.session === client.session && send.lane === lane)
        client.toClient[lane].push(
          ...joinLeaderRuns(
            messages.map(({ message }) => message),
            MAX_RUN_BYTES
          )
        )
      }
    }
  }

  private drain(client: Client): void {
    const sends = client.core.effects().filter((effect) => effect.type === 'send')
    for (const lane of LANES) {
      const messages = sends.filter((send) => send.lane === lane).map(({ message }) => message)
      client.toLeader[lane].push(...joinClientRuns(messages, MAX_RUN_BYTES))
    }
  }

  // ---- faults

  private breakConnection(client: Client): void {
    if (!client.connected) return
    this.counts.breaks++
    client.connected = false
    for (const lane of ['control', 'bulk'] as const) {
      client.toLeader[lane].length = 0
      client.toClient[lane].length = 0
    }
    client.core.disconnected()
    this.drain(client)
    this.directory.disconnected(client.session)
    this.carryOut()
  }

  private reconnect(client: Client): void {
    if (client.connected || client.session === 0) return
    client.connected = true
    client.core.connected({ term: this.term, creditBytes: 2 * PAGE_BYTES, maxFaults: 8 })
    this.directory.connected(client.session)
    this.carryOut()
    this.drain(client)
  }

  /** Elects another leader. Its log has some of the proposals, and the others are lost. */
  private elect(): void {
    this.counts.elections++
    for (const client of this.clients) this.breakConnection(client)
    const kept = Math.floor(this.random() * (this.proposals.length + 1))
    for (const command of this.proposals.slice(0, kept)) this.commitCommand(command)
    this.proposals = []
    this.term++
    this.directory = new Directory(this.term, this.machine)
  }

  /** The lease has ended and the client is dead before the entry is committed. */
  private expire(client: Client): void {
    if (client.session === 0) return
    this.counts.expiries++
    const { session } = client
    this.breakConnection(client)
    client.session = 0
    const owned: number[] = []
    // What the log took before the expiry stays. What the session had not flushed by then is undone.
    for (const command of this.proposals.splice(0)) this.apply(command)
    for (let page = 0; page < this.options.pages; page++) {
      if (this.machine.owner(this.file, page).session === session) owned.push(page)
    }
    this.apply({ type: 'expireSession', session, at: 0 })
    for (const page of owned) this.truth.set(page, this.storedValue(page))
    client.core.sessionLost((lost) => {
      const lostPages = new Set(lost.flatMap((range) => pagesOf(range.offset, range.length)))
      for (const page of lostPages) assert(page < this.options.pages, `lost page ${page}`)
      return new Error('expired')
    })
    for (const pin of client.pins.splice(0)) client.core.unpin(pin.pinned, pin.write ? 'write' : 'read')
    assert.equal(client.core.usedBytes, 0, 'a dead session holds frames')
    assert.equal(client.waiting, 0, 'a dead session leaves somebody waiting')
    this.count(client.core.counters)
    this.clients[client.name] = this.newClient(client.name)
    this.begin(this.clients[client.name]!)
  }

  // ---- set-up and end

  private newClient(name: number): Client {
    const core = new Coherence(createSlabFrameProvider(this.pick(CACHE_BYTES)), zeroCounters(), SILENT)
    const lanes = <T>(): Record<LaneName, T[]> => ({ control: [], bulk: [] })
    return {
      name,
      session: 0,
      core,
      connected: false,
      seq: 1,
      toLeader: lanes(),
      toClient: lanes(),
      written: new Map(),
      pins: [],
      waiting: 0
    }
  }

  private begin(client: Client): void {
    client.session = this.apply({ type: 'openSession', clientId: `client-${client.name}`, ttlMs: 1000, at: 0 })
    const size = this.options.pages * PAGE_BYTES
    const { session } = client
    const request = { session, seq: client.seq++, settled: 0, at: 0 }
    const options = { create: true, exclusive: false, size, pageSize: PAGE_BYTES, unit: undefined }
    this.apply({ type: 'open', ...request, path: '/f', ...options })
    this.file = this.machine.fileByPath('/f')!.id
    client.core.addFile({ file: this.file, path: '/f', pageSize: PAGE_BYTES })
    this.reconnect(client)
  }

  /** Faults stop. Everything that waits must end, and nothing may be left over. */
  private heal(): void {
    for (const client of this.clients) this.reconnect(client)
    for (const client of this.clients) while (client.pins.length > 0) this.release(client)
    this.settle()
    for (const client of this.clients) assert.equal(client.waiting, 0, `client ${client.name} waits forever`)
    for (const client of this.clients) for (let page = 0; page < this.options.pages; page++) this.flush(client, page)
    this.settle()
    for (let page = 0; page < this.options.pages; page++) {
      assert.equal(this.storedValue(page), this.truth.get(page) ?? 0, `page ${page} as stored`)
    }
    const { operations, waiting } = this.directory.stats()
    assert.deepEqual({ operations, waiting }, { operations: 0, waiting: 0 }, 'the directory holds something back')
    for (const client of this.clients) this.count(client.core.counters)
  }

  private count({ evictions, diffs }: CoherenceCounters): void {
    this.counts.evictions += evictions
    this.counts.diffs += diffs
  }

  private settle(): void {
    for (let quiet = 0; quiet < 200; quiet++) {
      const busy = this.proposals.length > 0 || this.clients.some((client) => this.inFlight(client))
      if (busy) quiet = 0
      this.commit()
      for (const client of this.clients) {
        while (client.pins.length > 0) this.release(client)
        this.deliver(client)
      }
    }
  }

  private inFlight(client: Client): boolean {
    const { toClient, toLeader } = client
    return toClient.control.length + toClient.bulk.length + toLeader.control.length + toLeader.bulk.length > 0
  }

  private storedValue(page: number): number {
    const { bytes } = this.machine.page(this.file, page)
    return bytes === undefined ? 0 : valueOf(bytes)
  }

  private store(): StateStore {
    const key = (file: number, page: number) => `${file}:${page}`
    return {
      read: (file, page) => this.stored.get(key(file, page)),
      version: (file, page) => this.stored.get(key(file, page))?.version ?? 0,
      pages: () => [],
      write: (file, page, stored) => void this.stored.set(key(file, page), stored),
      remove: (file, first, end) => {
        for (const id of [...this.stored.keys()]) {
          const [owner, page] = id.split(':').map(Number)
          if (owner === file && page! >= first && page! < end) this.stored.delete(id)
        }
      },
      lose: () => {},
      put: () => {}
    }
  }

  private pick<T>(from: readonly T[]): T {
    return from[Math.floor(this.random() * from.length)]!
  }
}

/** The newest value in the page. Each cell must have the newest value of its own before that. */
function valueOf(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  const cells = Array.from({ length: CELLS }, (_, cell) => view.getUint32(cell * CELL_BYTES, true))
  const value = Math.max(...cells)
  for (const [cell, found] of cells.entries()) {
    const expected = value - ((value - cell + CELLS) % CELLS)
    assert.equal(found, Math.max(0, expected), `cell ${cell} of a page at ${value}: ${cells.join()}`)
  }
  return value
}

function pagesOf(offset: number, length: number): number[] {
  return Array.from({ length: length / PAGE_BYTES }, (_, i) => offset / PAGE_BYTES + i)
}
