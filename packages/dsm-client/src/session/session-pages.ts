/** The pages of a session's files, between the API and the leader. */
import {
  bulkRunBytes,
  joinClientRuns,
  type ClientMessage,
  type Clock,
  type LeaderMessage,
  type LostRange
} from '@quire/protocol'
import { Coherence, type CoherenceCounters, type FrameProvider, type PageTable } from '../core/index.js'
import type { Recorder } from '../history.js'
import type { PageHost } from '../host.js'
import type { Start } from '../waiting.js'
import type { Connection } from './connection.js'
import type { FaultTimer } from './fault-timer.js'
import { FileSizes } from './file-sizes.js'
import type { SendRequest } from './request-queue.js'
import type { SessionWaits } from './session-waits.js'

/** What the pages must know of their session: see `Session`. */
export interface SessionLife {
  readonly ended: Error | undefined
  readonly lost: AbortSignal
  isLeaseValid(): boolean
  whenActive(signal?: AbortSignal): Promise<void>
  readonly request: SendRequest
}

export interface SessionPagesInit {
  readonly clock: Clock
  readonly frames: FrameProvider
  readonly counters: CoherenceCounters
  readonly faults: FaultTimer
  readonly recorder: Recorder
  readonly life: SessionLife
  readonly waits: SessionWaits
}

/** Drives the coherence core of one session. */
export class SessionPages implements PageHost {
  readonly coherence: Coherence
  readonly sizes: FileSizes
  readonly recorder: Recorder
  private connection: Connection | undefined
  private cancelHold = () => {}

  constructor(private readonly init: SessionPagesInit) {
    this.recorder = init.recorder
    this.coherence = new Coherence(init.frames, init.counters, {
      // Once a turn: what the core decides in one turn leaves together.
      output: () => queueMicrotask(() => this.drain()),
      writing: (writeback) => init.recorder.writing(writeback),
      written: (outcome) => init.recorder.written(outcome)
    })
    const request: SendRequest = (body, options) => init.life.request(body, options)
    this.sizes = new FileSizes({ host: this, coherence: this.coherence, request })
  }

  // ---- the host of pages

  get table(): PageTable {
    return this.coherence.table
  }

  get ended(): Error | undefined {
    return this.init.life.ended
  }

  get lost(): AbortSignal {
    return this.init.life.lost
  }

  now(): number {
    return this.init.clock.now()
  }

  isLeaseValid(): boolean {
    return this.init.life.isLeaseValid()
  }

  whenActive(signal?: AbortSignal): Promise<void> {
    return this.init.life.whenActive(signal)
  }

  wait<T>(start: Start<T>, signal: AbortSignal | undefined, onBusy?: () => Error): Promise<T> {
    return this.init.waits.wait(start, signal, onBusy)
  }

  flush(file: number, first: number, last: number, done: () => void, fail: (error: Error) => void): number {
    return this.coherence.flush(file, first, last, done, fail)
  }

  startWriting(file: number, first: number, last: number, started: () => void, fail: (error: Error) => void): number {
    return this.coherence.startWriting(file, first, last, started, fail)
  }

  // ---- the leader

  connected(connection: Connection): void {
    this.connection = connection
    this.coherence.limitBulk(connection.bulkWindowBytes, connection.bulkUnreceivedBytes)
    this.coherence.connected(connection.registered)
    this.sizes.resolveDiscards()
  }

  disconnected(): void {
    this.connection = undefined
    this.coherence.disconnected()
  }

  receive(message: LeaderMessage): void {
    this.coherence.advance(this.now())
    this.coherence.receive(message)
  }

  /**
   * The leader has received `bytes` bytes of bulk frames in all. The core learns what the line carries: pages that
   * cannot leave yet wait there, in order of urgency, and not in the connection.
   */
  bulkReceived(bytes: number): void {
    const { connection } = this
    if (connection === undefined) return
    // The connection counts only bytes that have left the core.
    this.drain()
    connection.bulkReceived(bytes)
    this.coherence.limitBulk(connection.bulkWindowBytes, connection.bulkUnreceivedBytes)
  }

  /** Repeats, now and then, what failed or was refused. */
  retry(): void {
    this.coherence.retry()
    this.sizes.resolveDiscards()
  }

  /** The session is gone: everything fails with the error that `makeError` returns for the lost ranges. */
  sessionLost(makeError: (lost: readonly LostRange[]) => Error): void {
    this.coherence.sessionLost(makeError)
    this.drain()
    this.cancelHold()
  }

  /** Carries out what the coherence core has decided. A message that must not overtake it waits for this call. */
  drain(): void {
    const sent = { control: [] as ClientMessage[], bulk: [] as ClientMessage[] }
    for (const effect of this.coherence.effects()) {
      switch (effect.type) {
        case 'send':
          sent[effect.lane].push(effect.message)
          break
        case 'fault-sent':
          this.init.faults.begin(effect.req, effect.kind, this.now())
          break
        case 'fault-done':
          this.init.faults.end(effect.req, this.now())
          break
        case 'discard-ended':
          this.sizes.discardEnded(effect.file, effect.error)
          break
      }
    }
    const { connection } = this
    if (connection !== undefined) {
      const maxBytes = bulkRunBytes(connection.bulkWindowBytes)
      for (const lane of ['control', 'bulk'] as const) {
        for (const message of joinClientRuns(sent[lane], maxBytes)) connection.send(lane, message)
      }
    }
    this.awaitDeadline()
  }

  /** Sets the timer for the core's next deadline: the end of a hold time or of a pin's patience. */
  private awaitDeadline(): void {
    this.cancelHold()
    const { nextDeadline } = this.coherence
    if (nextDeadline === Infinity) return
    const { clock } = this.init
    this.cancelHold = clock.schedule(Math.max(0, nextDeadline - clock.now()), () => {
      this.coherence.advance(clock.now())
      this.awaitDeadline()
    })
  }
}
