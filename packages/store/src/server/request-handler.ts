import {
  QuireError,
  UnavailableError,
  isRequest,
  type ClientMessageOf,
  type Clock,
  type LeaderMessage,
  type RequestType
} from '@quire/protocol'
import type { DiscardRequest } from '../directory/types.js'
import type { Answer, AnswerOf } from '../state/answer.js'
import { replyOf } from '../state/replies.js'
import { mayStore } from '../state/request-rows.js'
import type { FileId, SessionId, StateView } from '../state/view.js'
import type { WhenRepaired } from './bulk-order.js'
import type { Connection } from './connection.js'
import type { DirectoryDriver } from './directory-driver.js'
import type { Proposals } from './proposals.js'
import type { QuorumRounds } from './quorum-rounds.js'
import { answerRead, failed, NO_QUORUM, type ReadRequest } from './read-rows.js'
import { StoredChecksums, type ChecksumRequest } from './stored-checksums.js'

export interface RequestHandlerInit {
  readonly view: StateView
  readonly directory: Pick<DirectoryDriver, 'discard' | 'isDiscarding'>
  readonly proposals: Proposals
  readonly rounds: QuorumRounds
  /** The reason why nothing may be stored now, if there is one. */
  readonly readOnly: () => QuireError | undefined
  /** The connection of a registered session. */
  readonly connection: (session: SessionId) => Connection | undefined
  /** The client has exceeded its limits. */
  readonly violation: (connection: Connection, error: QuireError) => void
  readonly clock: Pick<Clock, 'schedule'>
  readonly whenRepaired: WhenRepaired
  readonly guard: (input: () => void) => void
}

export const OVERLOADED = new UnavailableError('too many bytes wait for the log')

/**
 * Answers the requests of the sessions of one term.
 *
 * A change goes through the log, and its answer follows when its entry is applied. A read is answered from the state,
 * after a quorum round.
 */
export class RequestHandler {
  /**
   * Opens of files with a discard under way. Their answers wait, because the size that a client learns must be valid.
   */
  private heldOpens: AnswerOf<'opened'>[] = []

  private readonly checksums: StoredChecksums

  constructor(private readonly init: RequestHandlerInit) {
    this.checksums = new StoredChecksums(init)
  }

  arrived(connection: Connection, message: ClientMessageOf<RequestType>): void {
    const { view, proposals } = this.init
    const isNew = connection.requestArrived(message.seq, message.type)
    if (isNew instanceof QuireError) return this.init.violation(connection, isNew)
    if (!isNew) return
    if (isRequest(message, 'read')) return this.read(connection, message)
    const refusal = this.refusal(isRequest(message, 'change', 'discard') && mayStore(message, view))
    if (refusal !== undefined) return answer(connection, message.seq, failed(message.seq, refusal))
    if (isRequest(message, 'discard')) return this.discard(connection, message)
    proposals.add({ ...message, session: connection.session })
  }

  /** Every session that maps the file gives the pages up before the request goes into the log. */
  private discard(connection: Connection, message: DiscardRequest): void {
    const { view, directory, proposals } = this.init
    const { session } = connection
    // The log answers a repeated request as before. No session is asked again: the pages may be in use by now.
    if (view.isAnswered(session, message.seq)) return proposals.add({ ...commandOf(message), session })
    const error = directory.discard(session, message)
    if (error !== undefined) answer(connection, message.seq, failed(message.seq, error))
  }

  private read(connection: Connection, message: ReadRequest | ChecksumRequest): void {
    this.init.rounds.confirm(connection, (confirmed) =>
      this.init.guard(() => {
        if (connection.closed) return
        if (!confirmed) return answer(connection, message.seq, failed(message.seq, NO_QUORUM))
        if (message.type === 'checksum') return this.checksum(connection, message)
        answer(connection, message.seq, answerRead(this.init.view, message))
      })
    )
  }

  private checksum(connection: Connection, message: ChecksumRequest): void {
    const { seq } = message
    this.checksums.compute(message, connection.session, (result) => {
      if (connection.closed) return
      const reply =
        result instanceof QuireError ? failed(seq, result) : { type: 'checksum' as const, seq, checksum: result }
      answer(connection, seq, reply)
    })
  }

  /** The term is over. */
  end(): void {
    this.checksums.end()
  }

  /** Returns why no command is accepted now. `stores` says whether the command may add to what is stored. */
  refusal(stores: boolean): QuireError | undefined {
    return (stores ? this.init.readOnly() : undefined) ?? (this.init.proposals.full ? OVERLOADED : undefined)
  }

  /** The entry of a request was applied: answers the request, if the client is connected. */
  settle(outcome: Answer): void {
    switch (outcome.type) {
      case 'opened':
        if (!this.init.directory.isDiscarding(outcome.stat.id)) break
        this.heldOpens.push(outcome)
        return
      case 'failed':
        return this.answer(outcome, failed(outcome.seq, outcome.error))
      case 'closed':
        this.init.connection(outcome.session)?.fileClosed(outcome.file)
        break
      default:
    }
    this.answer(outcome, replyOf(outcome, this.init.view))
  }

  /** A discard of the file is over. The file's size is valid, so the opens that waited for this are answered. */
  discarded(file: FileId): void {
    const opened = this.heldOpens.filter(({ stat }) => stat.id === file)
    if (opened.length === 0) return
    this.heldOpens = this.heldOpens.filter(({ stat }) => stat.id !== file)
    for (const outcome of opened) this.answer(outcome, replyOf(outcome, this.init.view))
  }

  private answer(
    { session, seq }: { readonly session: SessionId; readonly seq: number },
    message: LeaderMessage
  ): void {
    const connection = this.init.connection(session)
    if (connection !== undefined) answer(connection, seq, message)
  }
}

function answer(connection: Connection, seq: number, message: LeaderMessage): void {
  if (connection.settle(seq)) connection.send('control', message)
}

function commandOf(message: DiscardRequest) {
  return message.type === 'truncate' ? { ...message, tail: undefined } : message
}
