/**
 * Pages that go away: truncate and punch, one after another for each file (docs/coherence.md, 'Files that shrink').
 *
 * A discard waits for what is under way in its range, asks everybody who maps the file to give the range up, recalls the page that the new
 * end cuts, and proposes one entry for all of it. Faults in the range that come after it wait behind it.
 */
import {
  InvalidArgumentError,
  MAX_FILE_BYTES,
  refuseSize,
  type LeaderMessageOf,
  type QuireError
} from '@quire/protocol'
import { cutPage, endOfPages, firstPageBeyond } from '../state/units.js'
import type { FileId, FileRecord, SessionId } from '../state/view.js'
import type { Fault, Recall } from './page-entry.js'
import type { PageOperations } from './page-operations.js'
import type { Term } from './term.js'
import type { DiscardRequest } from './types.js'

interface Discard {
  readonly kind: 'discard'
  readonly session: SessionId
  readonly request: DiscardRequest
  /** Pages that go away. Always to the end of all pages for a truncate: an entry that grows the file may be on its way. */
  readonly first: number
  readonly end: number
  /** Its owner's bytes are needed, and nobody may have it meanwhile. */
  readonly recalledPage: number | undefined
  /** The file is owned as a whole: that one page stands for all, and whoever comes waits for its turn there. */
  readonly isWhole: boolean
  state: 'waiting' | 'asking' | 'proposed'
  /** Names it in messages, from when it begins. */
  op: number
  /** Sessions that have not given the range up yet. */
  readonly unanswered: Set<SessionId>
  recall: Recall | undefined
  /** What clients are asked; from when it begins. */
  order: LeaderMessageOf<'discard'> | undefined
}

/** What waits in a file: discards, and the faults that came after one of them. */
type Waiting = Discard | Fault

export class Discards {
  /** No file has an empty queue. */
  private readonly queues = new Map<FileId, Waiting[]>()

  constructor(
    private readonly term: Term,
    private readonly pages: PageOperations
  ) {}

  /** Returns why it cannot be done. */
  add(session: SessionId, request: DiscardRequest): QuireError | undefined {
    const file = this.term.view.file(request.file)
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

  /** True when the fault came after a discard of its page, and waits here until that is over. */
  hold(fault: Fault): boolean {
    const queue = this.queues.get(fault.file)
    if (queue === undefined) return false
    // A session has one request outstanding for a page; an older one came on a connection that is gone.
    const older = queue.findIndex(
      (item) => item.kind === 'fault' && item.session === fault.session && item.page === fault.page
    )
    if (older >= 0) queue.splice(older, 1)
    const isGoing = queue.some(
      (item) => item.kind === 'discard' && !item.isWhole && fault.page >= item.first && fault.page < item.end
    )
    if (isGoing) queue.push(fault)
    return isGoing
  }

  /** It has begun and is not over. */
  isDiscarding(file: FileId): boolean {
    const head = this.queues.get(file)?.[0]
    return head?.kind === 'discard' && head.state !== 'waiting'
  }

  acknowledged(session: SessionId, file: FileId, op: number): void {
    const head = this.queues.get(file)?.[0]
    // Rule 4: an acknowledgement counts for the operation that it names, and for no other.
    if (head?.kind === 'discard' && head.op === op) head.unanswered.delete(session)
  }

  /** Also who has answered is told again: until this is over, nothing else that it learns of the size holds. */
  askAgain(session: SessionId): void {
    for (const [file, [head]] of this.queues) {
      if (head?.kind !== 'discard' || head.order === undefined || !this.term.mayHold(session, file)) continue
      this.term.send(session, head.order)
    }
  }

  /** The answer to a request was applied; `committed` is false when it was refused. */
  applied(session: SessionId, seq: number, committed: boolean): void {
    const discard = this.find(session, seq)
    if (discard?.state === 'proposed') this.finish(discard, committed)
  }

  ended(session: SessionId): void {
    for (const file of this.queues.keys()) this.closed(session, file)
  }

  /** A session that has ended, or closed the file, holds nothing and will answer nothing. */
  closed(session: SessionId, file: FileId): void {
    for (const item of this.queues.get(file) ?? []) if (item.kind === 'discard') item.unanswered.delete(session)
  }

  /** Moves everything on as far as it can go. Call it after every input. */
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

  /** False when it has to wait for something. */
  private step(discard: Discard): boolean {
    const { request, session } = discard
    switch (discard.state) {
      case 'waiting': {
        if (this.term.view.session(session) === undefined) this.finish(discard, false)
        else if (this.term.isBlocked(request.file) || !this.isReady(discard)) return false
        else this.begin(discard)
        return true
      }
      case 'asking':
        // The state machine would refuse it.
        if (this.term.view.session(session) === undefined) this.finish(discard, false)
        else if (discard.unanswered.size > 0 || !this.isRecalled(discard)) return false
        else this.propose(discard)
        return true
      case 'proposed':
        return false
    }
  }

  private isReady(discard: Discard): boolean {
    const { request, first, end, isWhole } = discard
    if (!isWhole) return !this.pages.isBusy(request.file, first, end)
    // A file that is owned as a whole is taken from its owner first, so that no grant of its range is on its way when this begins.
    this.recall(discard)
    return this.isRecalled(discard)
  }

  private recall(discard: Discard): void {
    const { request, recalledPage } = discard
    if (recalledPage !== undefined) discard.recall ??= this.pages.recall(request.file, recalledPage)
  }

  private begin(discard: Discard): void {
    const { request, first, end } = discard
    const file = this.term.view.file(request.file)
    const op = this.term.newOperation()
    discard.op = op
    discard.state = 'asking'
    this.term.discardBegins(request.file, op)
    discard.order = {
      type: 'discard',
      term: this.term.number,
      op,
      file: request.file,
      first,
      end,
      size: request.type === 'truncate' ? request.size : MAX_FILE_BYTES,
      discards: (file?.discards ?? 0) + 1
    }
    for (const session of file?.sessions ?? []) {
      discard.unanswered.add(session)
      this.term.send(session, discard.order)
    }
    this.recall(discard)
  }

  private isRecalled({ recall }: Discard): boolean {
    return recall === undefined || this.pages.isRecalled(recall)
  }

  private propose(discard: Discard): void {
    const { session, request, recall } = discard
    discard.state = 'proposed'
    if (request.type === 'punch') return this.term.propose({ ...request, session })
    const tail = recall === undefined ? undefined : this.pages.recalledBytes(recall)
    this.term.propose({ ...request, session, tail })
  }

  private finish(discard: Discard, committed: boolean): void {
    const { request, recall, op, first, end } = discard
    const { file } = request
    const queue = this.queues.get(file)!
    queue.shift()
    if (op !== 0) {
      for (const session of this.term.view.file(file)?.sessions ?? []) {
        this.term.send(session, { type: 'discarded', term: this.term.number, op, file, committed })
      }
      this.term.discarded(file)
    }
    if (committed) this.pages.discarded(file, first, end)
    if (recall !== undefined && committed) this.pages.recallDone(recall)
    else if (recall !== undefined) this.pages.abandonRecall(recall)
    // Those that came before the next discard have their turn before it.
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

type Reach = Pick<Discard, 'first' | 'end' | 'recalledPage' | 'isWhole'>

function rangeOf({ pageSize, unit }: FileRecord, request: DiscardRequest): Reach {
  const isWhole = unit === 'file'
  const last = endOfPages(pageSize)
  if (request.type === 'punch') {
    const end = Math.min(request.end, last)
    return { first: Math.min(request.first, end), end, recalledPage: isWhole ? 0 : undefined, isWhole }
  }
  const { size } = request
  return {
    first: firstPageBeyond(size, pageSize),
    end: last,
    recalledPage: isWhole ? 0 : cutPage(size, pageSize),
    isWhole
  }
}
