/**
 * What a session asks for besides pages. A change goes through the log and is answered when its entry is applied; a read is answered
 * from the state, after a quorum round.
 */
import { QuireError, UnavailableError, type ClientMessageOf, type LeaderMessage } from '@quire/protocol'
import type { Directory } from '../directory/directory.js'
import type { DiscardRequest } from '../directory/types.js'
import type { Applied, FileId, SessionId, StateView } from '../state/view.js'
import type { Connection, RequestType } from './connection.js'
import type { Proposals } from './proposals.js'
import type { QuorumRounds } from './quorum-rounds.js'
import { answerRead, failed, type ReadRequest } from './reads.js'

type ChangeType = 'open' | 'createUnnamed' | 'close' | 'extend' | 'rename' | 'unlink' | 'link' | 'endSession'
type Opened = Extract<Applied, { type: 'opened' }>

export interface RequestHandlerInit {
  readonly view: StateView
  readonly directory: Pick<Directory, 'discard' | 'isDiscarding'>
  readonly proposals: Proposals
  readonly rounds: QuorumRounds
  /** Why nothing may be stored now. */
  readonly readOnly: () => QuireError | undefined
  /** Of a registered session. */
  readonly connection: (session: SessionId) => Connection | undefined
  /** The client has gone over its bounds. */
  readonly violation: (connection: Connection, error: QuireError) => void
  readonly guard: (input: () => void) => void
}

export const OVERLOADED = new UnavailableError('too much waits for the log')
const NO_QUORUM = new UnavailableError('no majority answered')

/** The requests of one leadership. */
export class RequestHandler {
  /** Opened while the file's pages were being taken away: what the client is told of its size must hold. */
  private heldOpens: Opened[] = []

  constructor(private readonly init: RequestHandlerInit) {}

  request(connection: Connection, message: ClientMessageOf<ChangeType>): void {
    if (!this.take(connection, message.seq, message.type)) return
    const refusal = this.refusal(adds(message))
    if (refusal !== undefined) return answer(connection, message.seq, failed(message.seq, refusal))
    this.init.proposals.add({ ...message, session: connection.session })
  }

  /** Takes pages away, so everybody who maps the file is asked before it goes into the log. */
  discard(connection: Connection, message: DiscardRequest): void {
    const { view, directory, proposals } = this.init
    const { session } = connection
    if (!this.take(connection, message.seq, message.type)) return
    // Shrinking is how room is made.
    const grows = message.type === 'truncate' && message.size > (view.file(message.file)?.size ?? 0)
    const refusal = this.refusal(grows)
    if (refusal !== undefined) return answer(connection, message.seq, failed(message.seq, refusal))
    // The log answers a repeated request as before. Nobody must be asked again: the pages may be in use by now.
    if (view.isAnswered(session, message.seq)) return proposals.add({ ...commandOf(message), session })
    const error = directory.discard(session, message)
    if (error !== undefined) answer(connection, message.seq, failed(message.seq, error))
  }

  read(connection: Connection, message: ReadRequest): void {
    if (!this.take(connection, message.seq, message.type)) return
    this.init.rounds.confirm(connection, (confirmed) =>
      this.init.guard(() => {
        if (connection.closed) return
        const found = confirmed ? answerRead(this.init.view, message) : failed(message.seq, NO_QUORUM)
        answer(connection, message.seq, found)
      })
    )
  }

  /** Why no command is taken now; `stores` tells that it would add to what is stored. */
  refusal(stores: boolean): QuireError | undefined {
    return (stores ? this.init.readOnly() : undefined) ?? (this.init.proposals.full ? OVERLOADED : undefined)
  }

  /** Answers the request that an entry came from, if its client is still here. */
  settle(outcome: Exclude<Applied, { type: 'session-ended' }>): void {
    switch (outcome.type) {
      case 'opened':
        if (!this.init.directory.isDiscarding(outcome.stat.id)) return this.answerOpened(outcome)
        this.heldOpens.push(outcome)
        return
      case 'closed':
        this.init.connection(outcome.session)?.fileClosed(outcome.file)
        return this.answer(outcome, { type: 'done', seq: outcome.seq })
      case 'extended':
      case 'truncated':
      case 'punched':
      case 'renamed':
      case 'unlinked':
      case 'linked':
        return this.answer(outcome, { type: 'done', seq: outcome.seq })
      case 'failed':
        return this.answer(outcome, failed(outcome.seq, outcome.error))
      case 'config':
      case 'session-opened':
      case 'handover':
      case 'writeback':
        break // nobody asked for it by a request
    }
  }

  /** A discard of the file is over: its size holds, and who opened it meanwhile is told of it. */
  discarded(file: FileId): void {
    const opened = this.heldOpens.filter(({ stat }) => stat.id === file)
    if (opened.length === 0) return
    this.heldOpens = this.heldOpens.filter(({ stat }) => stat.id !== file)
    for (const outcome of opened) this.answerOpened(outcome)
  }

  private answerOpened(outcome: Opened): void {
    // The file as it is now: the answer to a repeated request may be an old one.
    const stat = this.init.view.file(outcome.stat.id) ?? outcome.stat
    this.answer(outcome, { type: 'opened', seq: outcome.seq, stat })
  }

  /** False when the request is under way already, or was one too many. */
  private take(connection: Connection, seq: number, type: RequestType): boolean {
    const taken = connection.requestArrived(seq, type)
    if (taken instanceof QuireError) this.init.violation(connection, taken)
    return taken === true
  }

  private answer(
    { session, seq }: { readonly session: SessionId; readonly seq: number },
    message: LeaderMessage
  ): void {
    const connection = this.init.connection(session)
    if (connection !== undefined) answer(connection, seq, message)
  }
}

/** It may make the stored data grow. */
function adds(message: ClientMessageOf<ChangeType>): boolean {
  return message.type === 'extend' || message.type === 'createUnnamed' || (message.type === 'open' && message.create)
}

function answer(connection: Connection, seq: number, message: LeaderMessage): void {
  if (connection.settle(seq)) connection.send('control', message)
}

function commandOf(message: DiscardRequest) {
  return message.type === 'truncate' ? { ...message, tail: undefined } : message
}
