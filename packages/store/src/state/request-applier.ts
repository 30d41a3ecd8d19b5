import {
  InvalidArgumentError,
  QuireError,
  REQUESTS,
  SessionExpiredError,
  type LoggedRequestType,
  type OpenFileRequestType,
  type RequestRow
} from '@quire/protocol'
import type { Answer } from './answer.js'
import { MAX_UNSETTLED_REQUESTS, type Answers } from './answers.js'
import type { CommandOf, RequestCommand } from './commands.js'
import { refusePaths } from './request-paths.js'
import { REQUEST_ROWS, type LoggedRequestRow, type RequestTables, type ValidRequest } from './request-rows.js'
import type { SessionEntry } from './sessions.js'
import type { FileRecord, SessionId } from './view.js'

/** Applies each request of a session once, however often its command comes. */
export class RequestApplier {
  constructor(
    private readonly tables: RequestTables,
    private readonly answers: Answers
  ) {}

  apply(index: number, command: RequestCommand): Answer {
    const { answers } = this
    const { sessions } = this.tables
    const { seq } = command
    const fail = (error: QuireError): Answer => ({ type: 'failed', session: command.session, seq, error })
    const session = sessions.get(command.session)
    if (session === undefined) return fail(new SessionExpiredError(String(command.session)))
    const remembered = answers.get(session.id, seq)
    // Before settling: a client that repeats a request has not received its answer, whatever it says about others.
    if (remembered !== undefined) return remembered
    if (command.settled > session.settled) {
      sessions.settle(session, command.settled)
      answers.forget(session.id, command.settled)
    }
    // `answers` remembers neither refusal. The first is for a late copy of a request whose answer is forgotten, and
    // which must not apply again.
    if (seq < session.settled)
      return fail(new InvalidArgumentError('seq', seq, `at least ${session.settled}, the first unsettled`))
    if (seq >= session.settled + MAX_UNSETTLED_REQUESTS) {
      return fail(
        new InvalidArgumentError('seq', seq, `less than ${MAX_UNSETTLED_REQUESTS} above settled (${session.settled})`)
      )
    }
    const outcome = this.perform(index, session, command)
    const answer = outcome instanceof QuireError ? fail(outcome) : outcome
    answers.remember(answer)
    return answer
  }

  /** Releases everything that the session holds. Returns false if there is no such session. */
  endSession(id: SessionId): boolean {
    const { sessions, owners, pages } = this.tables
    const session = sessions.get(id)
    if (session === undefined) return false
    const files = [...session.files]
    owners.releaseSession(id)
    this.answers.forget(id)
    sessions.end(session)
    for (const file of files) pages.removeUnused(file)
    return true
  }

  private perform<T extends LoggedRequestType>(
    index: number,
    session: SessionEntry,
    command: RequestCommand & { readonly type: T }
  ): Answer | QuireError {
    const refusal = refusePaths(command)
    if (refusal !== undefined) return refusal
    let file: FileRecord | undefined
    if (needsOpenFile(command)) {
      // The session is alive, and a file exists as long as a session maps it.
      file = session.files.has(command.file) ? this.tables.namespace.get(command.file) : undefined
      if (file === undefined) {
        return new InvalidArgumentError('file', command.file, 'a file that this session has open')
      }
    }
    const row: LoggedRequestRow<T> = REQUEST_ROWS[command.type]
    const outcome = row.apply({ index, session, command, file } as ValidRequest<T>, this.tables)
    if (outcome instanceof QuireError) return outcome
    return { type: row.answer, session: session.id, seq: command.seq, ...outcome } as Answer
  }
}

function needsOpenFile(command: RequestCommand): command is CommandOf<OpenFileRequestType> {
  const row: RequestRow = REQUESTS[command.type]
  return row.file === 'open'
}
