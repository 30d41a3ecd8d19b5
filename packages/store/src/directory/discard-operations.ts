import {
  InvalidArgumentError,
  MAX_FILE_BYTES,
  refuseSize,
  type LeaderMessageOf,
  type QuireError
} from '@quire/protocol'
import { cutPage, endOfPages, firstPageBeyond } from '../state/units.js'
import type { FileId, FileRecord, SessionId } from '../state/view.js'
import { unitOf, type OwnerUnit } from './owner-unit.js'
import type { Fault, Recall } from './page-entry.js'
import type { PageOperations } from './page-operations.js'
import type { DirectoryState } from './directory-state.js'
import type { DiscardRequest } from './types.js'

interface Discard {
  readonly kind: 'discard'
  readonly session: SessionId
  readonly request: DiscardRequest
  /** The first page that goes away. */
  readonly first: number
  /**
   * One more than the last page that goes away. A truncate takes all pages to the highest possible one, because an
   * entry that grows the file may be on its way.
   */
  readonly end: number
  /** The page that is recalled: the discard needs its owner's bytes, and no session may have the page meanwhile. */
  readonly recalledPage: number | undefined
  readonly unit: OwnerUnit
  state: 'waiting' | 'asking' | 'proposed'
  /** The operation's name in messages; 0 until it begins. */
  op: number
  /** Sessions that have not acknowledged the order. */
  readonly unanswered: Set<SessionId>
  recall: Recall | undefined
  /** The order to clients; undefined until it begins. */
  order: LeaderMessageOf<'discard'> | undefined
}

/** An item of a file's queue: a discard, or a fault that arrived after one. */
type DiscardOrFault = Discard | Fault

/**
 * Carries out discards, one at a time for each file (docs/coherence.md, "Files that shrink").
 *
 * A discard waits for the operations in its range and tells every session that maps the file to give the range up. It
 * recalls the page that the new end cuts. Then it proposes one entry for all of this. A fault in the range that arrives
 * after the discard waits for its end.
 */
export class DiscardOperations {
  /** Files whose queue is not empty. */
  private readonly queues = new Map<FileId, DiscardOrFault[]>()

  constructor(
    private readonly state: DirectoryState,
    private readonly pages: PageOperations
  ) {}

  /** Returns the error of a request that cannot be carried out. */
  add(session: SessionId, request: DiscardRequest): QuireError | undefined {
    const file = this.state.view.file(request.file)
    if (file === undefined || !file.sessions.has(session)) {
      return new InvalidArgumentError('file', request.file, 'a file that this session has open')
    }
    const refusal = request.type === 'truncate' ? refuseSize(request.size) : undefined
    if (refusal !== undefined) return refusal
    if (this.find(session, request.seq) !== undefined) return undefined
    const discard: Discard = {
      kind: 'discard',
      session,
      request,
      ...rangeOf(file, request),
      state: 'waiting',
      op: 0,
      unanswered: new Set(),
      recall: undefined,
      order: undefined
    }
    const queue = this.queues.get(file.id)
    if (queue === undefined) this.queues.set(file.id, [discard])
    else queue.push(discard)
    return undefined
  }

  /** True if the fault arrived after a discard of its page. Then it waits here until that discard is over. */
  hold(fault: Fault): boolean {
    const queue = this.queues.get(fault.file)
    if (queue === undefined) return false
    // A session has one request outstanding for a page. An older one came on a connection that is gone.
    const older = queue.findIndex(
      (item) => item.kind === 'fault' && item.session === fault.session && item.page === fault.page
    )
    if (older >= 0) queue.splice(older, 1)
    const isGoing = queue.some(
      (item) =>
        item.kind === 'discard' && !item.unit.recallsBeforeDiscard && fault.page >= item.first && fault.page < item.end
    )
    if (isGoing) queue.push(fault)
    return isGoing
  }

  /** True if a discard of the file has begun and is not over. */
  isDiscarding(file: FileId): boolean {
    const head = this.queues.get(file)?.[0]
    return head?.kind === 'discard' && head.state !== 'waiting'
  }

  acknowledged(session: SessionId, file: FileId, op: number): void {
    const head = this.queues.get(file)?.[0]
    // Rule 4: an acknowledgment counts for the operation that it names, and for no other.
    if (head?.kind === 'discard' && head.op === op) head.unanswered.delete(session)
  }

  /**
   * Repeats the order of each discard that is under way, even if the session has acknowledged it: until the discard is
   * over, the client must not trust any other word about the file's size.
   */
  askAgain(session: SessionId): void {
    for (const [file, [head]] of this.queues) {
      if (head?.kind !== 'discard' || head.order === undefined || !this.state.mayHold(session, file)) continue
      this.state.send(session, head.order)
    }
  }

  /** The entry of a request was applied; `committed` is false if the state machine refused the request. */
  applied(session: SessionId, seq: number, committed: boolean): void {
    const discard = this.find(session, seq)
    if (discard?.state === 'proposed') this.finish(discard, committed)
  }

  ended(session: SessionId): void {
    for (const file of this.queues.keys()) this.closed(session, file)
  }

  /** The session has ended or has closed the file: it holds no page of the file and answers no order about one. */
  closed(session: SessionId, file: FileId): void {
    for (const item of this.queues.get(file) ?? []) if (item.kind === 'discard') item.unanswered.delete(session)
  }

  /** Advances every discard as far as possible. Call it after every input of the directory. */
  advance(): void {
    if (this.queues.size === 0) return
    for (const queue of [...this.queues.values()]) {
      for (let head = queue[0]; head?.kind === 'discard' && this.step(head); head = queue[0]);
    }
  }

  get stats(): { readonly discards: number; readonly waiting: number } {
    let discards = 0
    let waiting = 0
    for (const queue of this.queues.values()) {
      for (const item of queue) {
        if (item.kind === 'discard') discards++
        else waiting++
      }
    }
    return { discards, waiting }
  }

  // ---- one discard

  /** Advances the discard by one step. Returns false if it must wait. */
  private step(discard: Discard): boolean {
    const { request, session } = discard
    switch (discard.state) {
      case 'waiting': {
        if (this.state.view.session(session) === undefined) this.finish(discard, false)
        else if (this.state.isBlocked(request.file) || !this.isReady(discard)) return false
        else this.begin(discard)
        return true
      }
      case 'asking':
        // The state machine would refuse the request of a session that has ended.
        if (this.state.view.session(session) === undefined) this.finish(discard, false)
        else if (discard.unanswered.size > 0 || !this.isRecalled(discard)) return false
        else this.propose(discard)
        return true
      case 'proposed':
        return false
    }
  }

  private isReady(discard: Discard): boolean {
    const { request, first, end, unit } = discard
    if (!unit.recallsBeforeDiscard) return !this.pages.isBusy(request.file, first, end)
    this.recall(discard)
    return this.isRecalled(discard)
  }

  private recall(discard: Discard): void {
    const { request, recalledPage } = discard
    if (recalledPage !== undefined) discard.recall ??= this.pages.recall(request.file, recalledPage)
  }

  private begin(discard: Discard): void {
    const { request, first, end } = discard
    const file = this.state.view.file(request.file)
    const op = this.state.newOperation()
    discard.op = op
    discard.state = 'asking'
    this.state.discardBegins(request.file, op)
    discard.order = {
      type: 'discard',
      term: this.state.term,
      op,
      file: request.file,
      first,
      end,
      size: request.type === 'truncate' ? request.size : MAX_FILE_BYTES,
      discards: (file?.discards ?? 0) + 1
    }
    for (const session of file?.sessions ?? []) {
      discard.unanswered.add(session)
      this.state.send(session, discard.order)
    }
    this.recall(discard)
  }

  private isRecalled({ recall }: Discard): boolean {
    return recall === undefined || this.pages.isRecalled(recall)
  }

  private propose(discard: Discard): void {
    const { session, request, recall } = discard
    discard.state = 'proposed'
    if (request.type === 'punch') return this.state.propose({ ...request, session })
    const tail = recall === undefined ? undefined : this.pages.recalledBytes(recall)
    this.state.propose({ ...request, session, tail })
  }

  private finish(discard: Discard, committed: boolean): void {
    const { request, recall, op, first, end } = discard
    const { file } = request
    const queue = this.queues.get(file)!
    queue.shift()
    if (op !== 0) {
      for (const session of this.state.view.file(file)?.sessions ?? []) {
        this.state.send(session, { type: 'discarded', term: this.state.term, op, file, committed })
      }
      this.state.discarded(file)
    }
    if (committed) this.pages.discarded(file, first, end)
    if (recall !== undefined && committed) this.pages.recallDone(recall)
    else if (recall !== undefined) this.pages.abandonRecall(recall)
    // Faults that arrived before the next discard have their turn before it.
    for (let head = queue[0]; head?.kind === 'fault'; head = queue[0]) {
      queue.shift()
      this.pages.fault(head)
    }
    if (queue.length === 0) this.queues.delete(file)
  }

  private find(session: SessionId, seq: number): Discard | undefined {
    for (const queue of this.queues.values()) {
      for (const item of queue) {
        if (item.kind === 'discard' && item.session === session && item.request.seq === seq) return item
      }
    }
    return undefined
  }
}

type Reach = Pick<Discard, 'first' | 'end' | 'recalledPage' | 'unit'>

function rangeOf(file: FileRecord, request: DiscardRequest): Reach {
  const { pageSize } = file
  const unit = unitOf(file)
  const last = endOfPages(pageSize)
  if (request.type === 'punch') {
    const end = Math.min(request.end, last)
    return { first: Math.min(request.first, end), end, recalledPage: unit.recalledPage(undefined), unit }
  }
  const { size } = request
  const cut = cutPage(size, pageSize)
  return { first: firstPageBeyond(size, pageSize), end: last, recalledPage: unit.recalledPage(cut), unit }
}
