/**
 * What a session asks for besides pages. A change goes through the log and is answered when its entry is applied; a read is answered
 * from the state, after a quorum round.
 */
import { QuireError, UnavailableError, type ClientMessageOf, type LeaderMessage } from '@quire/protocol'
import type { Applied, SessionId, StateView } from '../state/view.js'
import type { Connection, RequestType } from './connection.js'
import type { Proposals } from './proposals.js'
import type { QuorumRounds } from './quorum-rounds.js'
import { answerRead, failed, type ReadRequest } from './reads.js'

type ChangeType = 'open' | 'close' | 'extend' | 'endSession'

export interface RequestsInit {
  readonly view: StateView
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
export class Requests {
  constructor(private readonly init: RequestsInit) {}

  request(connection: Connection, message: ClientMessageOf<ChangeType>): void {
    if (!this.take(connection, message.seq, message.type)) return
    const refusal = this.refusal(message.type === 'extend' || (message.type === 'open' && message.create))
    if (refusal !== undefined) return answer(connection, message.seq, failed(message.seq, refusal))
    this.init.proposals.add({ ...message, session: connection.session })
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
        return this.answer(outcome, { type: 'opened', seq: outcome.seq, stat: outcome.stat })
      case 'closed':
        this.init.connection(outcome.session)?.fileClosed(outcome.file)
        return this.answer(outcome, { type: 'done', seq: outcome.seq })
      case 'extended':
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

function answer(connection: Connection, seq: number, message: LeaderMessage): void {
  if (connection.settle(seq)) connection.send('control', message)
}
