import {
  BulkReceipts,
  BulkWindow,
  ClosedError,
  InvalidArgumentError,
  QuotaExceededError,
  bulkRunBytes,
  errorToWire,
  type Access,
  type ClientMessageOf,
  type Clock,
  type FrameStream,
  type LeaderMessage,
  type QuireError,
  type RequestType
} from '@quire/protocol'
import type { FileId, SessionId } from '../state/view.js'
import { LaneQueue, type OutgoingBytes } from './lane.js'
import type { ServerLimits } from './limits.js'
import type { Stages } from '../observability/stages.js'

export interface ConnectionInit {
  readonly group: number
  readonly control: FrameStream
  /** Names this connection in the bulk stream's hello. */
  readonly attach: number
  readonly openedAtMs: number
  readonly limits: ServerLimits
  readonly outgoing: OutgoingBytes
  /**
   * All connections together hold more waiting bytes than they may. One connection must go, not necessarily this one.
   */
  readonly onTotalExceeded: () => void
  readonly clock: Pick<Clock, 'now' | 'schedule'>
  readonly stages: Stages
}

interface OutstandingFault {
  readonly req: number
  readonly arrivedMs: number
  /** 0 if no entry was proposed for the fault. */
  proposedMs: number
}

/**
 * Holds the leader's side of one client connection.
 *
 * That is: the client's two streams, the session that it has registered, and its outstanding messages, which have
 * limits.
 */
export class Connection {
  readonly remote: string
  readonly attach: number
  readonly openedAtMs: number
  readonly control: LaneQueue
  bulk: LaneQueue | undefined
  /** The client's `register`, which waits for the bulk lane, a quorum round or an entry. */
  register: ClientMessageOf<'register'> | undefined
  /** 0 until the client has registered. */
  session: SessionId = 0
  closed = false

  /** Faults by file and page. The directory keeps at most one request of a session for a page. */
  private readonly faults = new Map<FileId, Map<number, OutstandingFault>>()
  private faultCount = 0
  private readonly writebacks = new Map<number, { pages: number; readonly bytes: number }>()
  private writebackBytes = 0
  private readonly requests = new Map<number, RequestType>()
  private keepAlives = 0
  private readonly receipts: BulkReceipts

  constructor(private readonly init: ConnectionInit) {
    this.remote = init.control.remote
    this.attach = init.attach
    this.openedAtMs = init.openedAtMs
    this.control = new LaneQueue(init.control, init.group, init.outgoing, init.clock)
    this.receipts = new BulkReceipts(init.clock, (bytes) => this.send('control', { type: 'bulkReceived', bytes }))
  }

  /** Bytes that its streams have not accepted yet. */
  get waitingBytes(): number {
    return this.control.waitingBytes + (this.bulk?.waitingBytes ?? 0)
  }

  /** The page bytes in one run on bulk: a part of what the line carries in a short time. */
  get bulkRunBytes(): number {
    return bulkRunBytes(this.bulk?.windowBytes ?? 0)
  }

  attachBulk(stream: FrameStream): void {
    this.bulk = new LaneQueue(stream, this.init.group, this.init.outgoing, this.init.clock)
  }

  /** The session is open. From now on, frames on bulk wait until earlier frames have arrived. */
  registered(session: SessionId, ttlMs: number): void {
    this.session = session
    this.bulk?.limitBy(new BulkWindow(ttlMs))
  }

  bulkArrived(frameBytes: number): void {
    this.receipts.arrived(frameBytes)
  }

  bulkReceived(bytes: number): QuireError | undefined {
    if (this.bulk?.received(bytes) === true) return undefined
    return new InvalidArgumentError('bulkReceived', bytes, 'what was sent on bulk and not yet acknowledged')
  }

  send(lane: 'control' | 'bulk', message: LeaderMessage): void {
    if (this.closed) return
    this.sent(message)
    ;(lane === 'control' ? this.control : this.bulk)?.send(message)
    const { limits, outgoing } = this.init
    if (this.waitingBytes > limits.maxOutgoingBytes) {
      this.abort(new QuotaExceededError(`outgoing bytes for ${this.remote}`, limits.maxOutgoingBytes))
    } else if (outgoing.total > limits.maxTotalOutgoingBytes) {
      this.init.onTotalExceeded()
    }
  }

  /** Sends the error on control and ends the connection. */
  refuse(error: QuireError): void {
    this.finish({ type: 'refused', error: errorToWire(error) })
  }

  /**
   * Closes control in order, after `last`. It leaves bulk open: the end of bulk could overtake `last`, and a client
   * that sees one stream end drops the other. When control ends, `streamEnded` ends bulk.
   */
  finish(last?: LeaderMessage): void {
    this.closed = true
    this.receipts.stop()
    this.control.finish(last)
    this.bulk?.dropQueue()
  }

  abort(reason: Error): void {
    this.closed = true
    this.receipts.stop()
    this.control.abort(reason)
    this.bulk?.abort(reason)
  }

  /** One of the streams has ended. The other is of no use alone, so it ends too. */
  streamEnded(lane: LaneQueue): void {
    lane.ended()
    this.abort(new ClosedError('the sibling stream'))
  }

  /** Records a message; so do the methods below. Returns an error if the client has exceeded its limits. */
  faultArrived({ req, file, page, count }: ClientMessageOf<'fault'>): QuireError | undefined {
    const { maxFaults } = this.init.limits
    const arrivedMs = this.init.clock.now()
    const pages = this.faults.get(file) ?? new Map<number, OutstandingFault>()
    this.faults.set(file, pages)
    for (let i = 0; i < count; i++) {
      if (!pages.has(page + i)) {
        if (this.faultCount >= maxFaults) return new QuotaExceededError('outstanding faults of a session', maxFaults)
        this.faultCount++
      }
      pages.set(page + i, { req: req + i, arrivedMs, proposedMs: 0 })
    }
    return undefined
  }

  /** The entry that gives the page to this session was proposed. */
  faultProposed(file: FileId, page: number): void {
    const fault = this.faults.get(file)?.get(page)
    if (fault === undefined || fault.proposedMs !== 0) return
    fault.proposedMs = this.init.clock.now()
    this.init.stages.record('fault.write.queue', fault.proposedMs - fault.arrivedMs)
  }

  /** The session no longer maps the file, so its faults on the file get no answer. */
  fileClosed(file: FileId): void {
    this.faultCount -= this.faults.get(file)?.size ?? 0
    this.faults.delete(file)
  }

  /** A diff counts as much as its page, because each peer reads and writes all of that. `pageSize`: 0 if unknown. */
  writebackArrived(
    writeback: ClientMessageOf<'writeback'>,
    pageSize: (file: FileId) => number
  ): QuireError | undefined {
    const { creditBytes } = this.init.limits
    const bytes = writeback.pages.reduce((sum, page) => sum + Math.max(page.bytes.length, pageSize(page.file)), 0)
    // One page may always pass when nothing else is in flight, however small the credit.
    if (this.writebackBytes > 0 && this.writebackBytes + bytes > creditBytes) {
      return new QuotaExceededError('bytes in unacknowledged writebacks of a session', creditBytes)
    }
    this.writebackSettled(writeback.req)
    this.writebacks.set(writeback.req, { pages: writeback.pages.length, bytes })
    this.writebackBytes += bytes
    return undefined
  }

  /** Returns false if the request is already under way. */
  requestArrived(seq: number, type: RequestType): boolean | QuireError {
    if (this.requests.has(seq)) return false
    const error = this.overRequests()
    if (error !== undefined) return error
    this.requests.set(seq, type)
    return true
  }

  keepAliveArrived(): QuireError | undefined {
    const error = this.overRequests()
    if (error === undefined) this.keepAlives++
    return error
  }

  keepAliveSettled(): void {
    this.keepAlives--
  }

  /** Returns true, once, if the request `seq` waits for an answer on this connection. */
  settle(seq: number): boolean {
    return this.requests.delete(seq)
  }

  /** The `seq` of an `endSession` that waits for its answer. */
  endSessionSeq(): number | undefined {
    for (const [seq, type] of this.requests) if (type === 'endSession') return seq
    return undefined
  }

  private overRequests(): QuireError | undefined {
    const { maxRequests } = this.init.limits
    if (this.requests.size + this.keepAlives < maxRequests) return undefined
    return new QuotaExceededError('unanswered requests of a session', maxRequests)
  }

  private sent(message: LeaderMessage): void {
    if (message.type === 'grant') {
      const { req, file, page, access } = message
      for (const i of message.pages.keys()) this.faultAnswered(req + i, file, page + i, access)
    } else if (message.type === 'faultFailed') {
      this.faultAnswered(message.req, message.file, message.page)
    } else if (message.type === 'writebackAck') {
      const writeback = this.writebacks.get(message.req)
      if (writeback === undefined) return
      writeback.pages -= message.pages.length
      if (writeback.pages <= 0) this.writebackSettled(message.req)
    } else if (message.type === 'writebackFailed') {
      this.writebackSettled(message.req)
    }
  }

  /** `access` is that of the grant, or undefined if the fault has failed. */
  private faultAnswered(req: number, file: FileId, page: number, access?: Access): void {
    const pages = this.faults.get(file)
    const fault = pages?.get(page)
    if (pages === undefined || fault?.req !== req) return
    if (access !== undefined) this.granted(access, fault)
    pages.delete(page)
    this.faultCount--
    if (pages.size === 0) this.faults.delete(file)
  }

  private granted(access: Access, { arrivedMs, proposedMs }: OutstandingFault): void {
    const { clock, stages } = this.init
    const now = clock.now()
    if (proposedMs > 0) stages.record('fault.write.commit', now - proposedMs)
    else stages.record(`fault.${access}.queue`, now - arrivedMs)
  }

  private writebackSettled(req: number): void {
    this.writebackBytes -= this.writebacks.get(req)?.bytes ?? 0
    this.writebacks.delete(req)
  }
}
