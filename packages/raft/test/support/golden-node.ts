import { crc32c } from '@node-rs/crc32'
import type { RaftMessage } from '@quire/protocol'
import { fromString } from 'uint8arrays/from-string'
import { toString } from 'uint8arrays/to-string'
import {
  createRaftCore,
  type CoreLimits,
  type Outgoing,
  type PieceReceived,
  type PieceWanted,
  type RaftCore,
  type Ready,
  type SnapshotMeta,
  type StorageWrite
} from '../../src/core/index.js'
import { formatConfiguration, formatEntries, formatSnapshot, formatWrite } from './golden-format.js'
import { CommandError } from './golden-script.js'
import type { HandStorage } from './hand-storage.js'

/** Shortest election timeout in ticks. The longest is 19. */
export const ELECTION_TICKS = 10

export interface NodeSettings {
  readonly id: string
  readonly limits: CoreLimits
  /** Bytes in a snapshot piece. */
  readonly pieceBytes: number
  readonly emit: (line: string) => void
  readonly send: (to: string, message: RaftMessage) => void
}

/** A part of a node that can work by hand: the script then says when it has completed its work. */
export type Part = 'disk' | 'machine' | 'store'

/**
 * Drives one core of a golden script.
 *
 * Its state machine is the list of proposed values.
 */
export class GoldenNode {
  core: RaftCore | undefined
  readonly byHand = new Set<Part>()
  /** The election timeout that the core draws next. */
  timeout = 2 * ELECTION_TICKS - 1
  private values: string[] = []
  private writes: { write: StorageWrite; after: Outgoing[] }[] = []
  private applying: number | undefined
  private reading: PieceWanted[] = []
  private storing: PieceReceived | undefined
  private installing: SnapshotMeta | undefined
  // The state machine is durable, as is the log:
  private newest: { meta: SnapshotMeta; text: string } | undefined
  private incoming = ''

  constructor(
    private readonly settings: NodeSettings,
    readonly storage: HandStorage
  ) {}

  start(applied?: number): void {
    const { id, limits } = this.settings
    this.values = valuesOf(this.newest?.text ?? '')
    this.guard(() => {
      this.core = createRaftCore({
        id,
        log: this.storage,
        hardState: this.storage.hardState,
        configurations: this.storage.configurations,
        snapshot: this.newest?.meta,
        appliedIndex: applied ?? this.newest?.meta.index ?? 0,
        electionTicks: ELECTION_TICKS,
        heartbeatTicks: 2,
        limits,
        random: () => (this.timeout - ELECTION_TICKS + 0.5) / ELECTION_TICKS
      })
      this.drain()
    })
  }

  /** Simulates a power loss: unflushed writes and all work in progress are lost. */
  crash(): void {
    this.core = undefined
    this.writes = []
    this.applying = undefined
    this.reading = []
    this.storing = undefined
    this.installing = undefined
  }

  /** Runs an action on the core, and then everything that the core wants done. A broken invariant stops the node. */
  run(action: (core: RaftCore) => void): void {
    const { core } = this
    if (core === undefined) return this.emit('is down')
    this.guard(() => {
      action(core)
      this.drain()
    })
  }

  /** Drops a piece whose checksum is wrong, as the driver does. */
  receive(from: string, message: RaftMessage): void {
    if (message.type === 'snapshot' && crc32c(message.data) !== message.crc) return this.emit('drops a torn piece')
    this.run((core) => core.step(from, message))
  }

  /** Makes every part work by itself again, and completes pending writes. */
  auto(): void {
    this.byHand.clear()
    this.flush()
  }

  flush(count = Infinity): void {
    for (let i = 0; i < count && this.writes.length > 0; i++) {
      const { write, after } = this.writes.shift()!
      this.run((core) => this.written(core, write, after))
    }
  }

  finish(what: string): void {
    const { storing, installing, applying } = this
    if (what === 'apply' && applying !== undefined) {
      this.applying = undefined
      this.run((core) => this.appliedTo(core, applying))
    } else if (what === 'read' && this.reading.length > 0) {
      const wanted = this.reading.shift()!
      this.run((core) => this.read(core, wanted))
    } else if (what === 'store' && storing !== undefined) {
      this.run((core) => this.store(core, storing))
    } else if (what === 'install' && installing !== undefined) {
      this.run((core) => this.install(core, installing))
    } else if (what === 'refuse' && installing !== undefined) {
      this.installing = undefined
      this.run((core) => core.snapshotRefused(installing))
    } else {
      throw new CommandError(`${this.settings.id} has nothing to ${what}`)
    }
  }

  takeSnapshot(): void {
    if (this.applying !== undefined || this.installing !== undefined) {
      throw new CommandError(`the state machine of ${this.settings.id} is busy`)
    }
    this.run((core) => {
      const meta = core.snapshotMeta(core.appliedIndex)
      this.newest = { meta, text: this.values.join(' ') }
      this.emit(`has snapshot ${formatSnapshot(meta)} "${this.newest.text}"`)
      core.snapshotTaken(meta)
    })
  }

  status(): string {
    const { core } = this
    if (core === undefined) return 'is down'
    const { role, term, leader, firstIndex, lastIndex, commitIndex, appliedIndex, configuration, transferTarget } = core
    const leading = role === 'leader' || leader === undefined ? '' : ` leader=${leader}`
    const transferring = transferTarget === undefined ? '' : ` transferring to ${transferTarget}`
    const indexes = `log=${firstIndex}..${lastIndex} commit=${commitIndex} applied=${appliedIndex}`
    return `${role} t${term}${leading} ${indexes} ${formatConfiguration(configuration)}${transferring}`
  }

  state(): string {
    return `"${this.values.join(' ')}"`
  }

  private emit(line: string): void {
    this.settings.emit(`${this.settings.id} ${line}`)
  }

  private guard(action: () => void): void {
    try {
      action()
    } catch (error) {
      this.crash()
      this.emit(`stops: ${(error as Error).message}`)
    }
  }

  private drain(): void {
    for (let ready = this.core?.ready(); ready !== undefined; ready = this.core?.ready()) this.handle(this.core!, ready)
  }

  private handle(core: RaftCore, ready: Ready): void {
    const { softState, write, messagesAfter, committed } = ready
    if (softState !== undefined) {
      const { role, term, leader } = softState
      this.emit(`${role} t${term}${role === 'leader' || leader === undefined ? '' : ` leader=${leader}`}`)
    }
    this.send(ready.messages)
    if (write !== undefined) {
      if (this.byHand.has('disk') || this.writes.length > 0) this.writes.push({ write, after: [...messagesAfter] })
      else this.written(core, write, messagesAfter)
    } else if (this.writes.length > 0) {
      this.writes.at(-1)!.after.push(...messagesAfter)
    } else {
      this.send(messagesAfter)
    }
    for (const { context, index } of ready.readStates) this.emit(`read ${context} at ${index}`)
    if (committed.length > 0) this.apply(core, ready)
    this.exchangeSnapshots(core, ready)
  }

  private send(messages: readonly Outgoing[]): void {
    for (const { to, message } of messages) this.settings.send(to, message)
  }

  private written(core: RaftCore, write: StorageWrite, after: readonly Outgoing[]): void {
    this.storage.write(write)
    this.emit(`wrote ${formatWrite(write)}`)
    this.send(after)
    core.persisted(write.ack)
  }

  private apply(core: RaftCore, { committed }: Ready): void {
    for (const { kind, data } of committed) if (kind === 'normal') this.values.push(toString(data))
    this.applying = committed.at(-1)!.index
    if (this.byHand.has('machine')) return this.emit(`applies ${formatEntries(committed)}`)
    this.appliedTo(core, this.applying)
  }

  private appliedTo(core: RaftCore, index: number): void {
    this.applying = undefined
    this.emit(`applied ${index}`)
    core.applied(index)
  }

  private exchangeSnapshots(core: RaftCore, { piecesWanted, pieceReceived, install }: Ready): void {
    const byHand = this.byHand.has('store')
    for (const wanted of piecesWanted) {
      const { to, snapshot, offset } = wanted
      if (!byHand) this.read(core, wanted)
      else this.reading.push(wanted)
      if (byHand) this.emit(`reads ${formatSnapshot(snapshot)} at ${offset} for ${to}`)
    }
    if (pieceReceived !== undefined) {
      this.storing = pieceReceived
      if (!byHand) this.store(core, pieceReceived)
      else this.emit(`stores ${formatSnapshot(pieceReceived.snapshot)} at ${pieceReceived.offset}`)
    }
    if (install !== undefined) {
      this.installing = install
      if (!byHand) this.install(core, install)
      else this.emit(`installs ${formatSnapshot(install)}`)
    }
  }

  private read(core: RaftCore, wanted: PieceWanted): void {
    const { snapshot, offset } = wanted
    if (this.newest?.meta.index !== snapshot.index) return core.pieceRead(wanted, undefined)
    const bytes = fromString(this.newest.text)
    const data = bytes.slice(offset, offset + this.settings.pieceBytes)
    const done = offset + data.length >= bytes.length
    core.pieceRead(wanted, { data, crc: crc32c(data), done })
  }

  private store(core: RaftCore, piece: PieceReceived): void {
    const { snapshot, offset, data } = piece
    this.storing = undefined
    if (offset === 0) this.incoming = ''
    if (this.incoming.length !== offset)
      throw new Error(`piece at ${offset} after ${this.incoming.length} stored bytes`)
    this.incoming += toString(data)
    this.emit(`stored ${formatSnapshot(snapshot)} at ${offset}`)
    core.pieceStored(piece)
  }

  private install(core: RaftCore, snapshot: SnapshotMeta): void {
    this.installing = undefined
    this.newest = { meta: snapshot, text: this.incoming }
    this.values = valuesOf(this.incoming)
    this.emit(`installed ${formatSnapshot(snapshot)} "${this.incoming}"`)
    core.snapshotInstalled(snapshot)
  }
}

function valuesOf(text: string): string[] {
  return text.split(' ').filter((value) => value !== '')
}
