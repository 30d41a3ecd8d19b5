/** Changes that sessions ask for. Each is applied once, however often its command comes, and its answer is remembered. */
import {
  DEFAULT_PAGE_BYTES,
  FileExistsError,
  InvalidArgumentError,
  NoSuchFileError,
  QuireError,
  SessionExpiredError,
  refusePageSize,
  refusePath,
  refuseSize,
  type WireFileStat
} from '@quire/protocol'
import { MAX_UNSETTLED_REQUESTS, type Answers } from './answers.js'
import type { CommandOf, RequestCommand } from './commands.js'
import type { Namespace } from './namespace.js'
import type { Owners } from './owners.js'
import type { PageChanges } from './page-changes.js'
import type { Answer } from './records.js'
import type { Session, Sessions } from './sessions.js'
import { firstPageBeyond } from './units.js'
import type { FileId, FileRecord, SessionId } from './view.js'

export interface RequestTables {
  readonly namespace: Namespace
  readonly sessions: Sessions
  readonly owners: Owners
  readonly answers: Answers
  readonly pages: PageChanges
}

export class Requests {
  constructor(private readonly tables: RequestTables) {}

  apply(index: number, command: RequestCommand): Answer {
    const { sessions, answers } = this.tables
    const { seq } = command
    const fail = (error: QuireError): Answer => ({ type: 'failed', session: command.session, seq, error })
    const session = sessions.get(command.session)
    if (session === undefined) return fail(new SessionExpiredError(String(command.session)))
    const remembered = answers.get(session.id, seq)
    // Before settling: whoever repeats a request has not got its answer, whatever it says about others.
    if (remembered !== undefined) return remembered
    if (command.settled > session.settled) {
      sessions.settle(session, command.settled)
      answers.forget(session.id, command.settled)
    }
    // Neither refusal is remembered. The first is a late copy of a request whose answer is forgotten and must not apply again.
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

  /** Everything that the session holds is released. False when there is no such session. */
  endSession(id: SessionId): boolean {
    const { sessions, owners, answers } = this.tables
    const session = sessions.get(id)
    if (session === undefined) return false
    const files = [...session.files]
    owners.releaseSession(id)
    answers.forget(id)
    sessions.end(session)
    for (const file of files) this.removeIfUnused(file)
    return true
  }

  private perform(index: number, session: Session, command: RequestCommand): Answer | QuireError {
    const { sessions, owners } = this.tables
    const answer = { session: session.id, seq: command.seq }
    switch (command.type) {
      case 'open': {
        const file = this.open(index, command)
        if (file instanceof QuireError) return file
        sessions.map(session, file.id)
        return { type: 'opened', ...answer, stat: statOf(file) }
      }
      case 'close':
        owners.releaseFile(session.id, command.file)
        sessions.unmap(session, command.file)
        this.removeIfUnused(command.file)
        return { type: 'closed', ...answer, file: command.file }
      case 'extend':
      case 'truncate':
      case 'punch': {
        const file = session.files.has(command.file) ? this.tables.namespace.get(command.file) : undefined
        if (file === undefined)
          return new InvalidArgumentError('file', command.file, 'a file that this session has open')
        return this.resize(index, answer, file, command)
      }
      case 'rename': {
        const file = this.rename(command)
        return file instanceof QuireError ? file : { type: 'renamed', ...answer, file: file.id }
      }
      case 'unlink': {
        const file = this.unlink(command.path)
        return file instanceof QuireError ? file : { type: 'unlinked', ...answer, file: file.id }
      }
      case 'createUnnamed': {
        const file = this.createUnnamed(index, command)
        if (file instanceof QuireError) return file
        sessions.map(session, file.id)
        return { type: 'opened', ...answer, stat: statOf(file) }
      }
      case 'link': {
        const refusal = this.link(session, command)
        return refusal ?? { type: 'linked', ...answer, file: command.file }
      }
    }
  }

  private open(index: number, command: CommandOf<'open'>): FileRecord | QuireError {
    const { path, pageSize, size, unit } = command
    const refusal = refusePath(path) ?? (pageSize === 0 ? undefined : refusePageSize(pageSize))
    if (refusal !== undefined) return refusal
    const existing = this.tables.namespace.getByPath(path)
    if (existing === undefined) {
      if (!command.create) return new NoSuchFileError(path)
      return refuseSize(size) ?? this.tables.namespace.create(newStat(index, path, command))
    }
    if (command.create && command.exclusive) return new FileExistsError(path)
    if (pageSize !== 0 && pageSize !== existing.pageSize) {
      return new InvalidArgumentError('pageSize', pageSize, `${existing.pageSize}, as the file has it`)
    }
    if (unit !== undefined && unit !== existing.unit) {
      return new InvalidArgumentError('unit', unit, `${existing.unit}, as the file has it`)
    }
    return existing
  }

  private createUnnamed(index: number, command: CommandOf<'createUnnamed'>): FileRecord | QuireError {
    const { pageSize, size } = command
    const refusal = (pageSize === 0 ? undefined : refusePageSize(pageSize)) ?? refuseSize(size)
    return refusal ?? this.tables.namespace.createUnnamed(newStat(index, '', command))
  }

  private resize(
    index: number,
    answer: { readonly session: SessionId; readonly seq: number },
    file: FileRecord,
    command: CommandOf<'extend' | 'truncate' | 'punch'>
  ): Answer | QuireError {
    const { namespace, pages } = this.tables
    const { id, pageSize } = file
    const { at } = command
    if (command.type === 'punch') {
      const end = Math.min(command.end, firstPageBeyond(file.size, pageSize))
      const first = Math.min(command.first, end)
      pages.punch(index, file, first, end, at)
      return { type: 'punched', ...answer, file: id, first, end }
    }
    const refusal = refuseSize(command.size)
    if (refusal !== undefined) return refusal
    if (command.type === 'truncate') {
      pages.truncate(index, file, command)
      return { type: 'truncated', ...answer, file: id, size: command.size }
    }
    // Bytes between the old and the new end were never stored, so the new part reads as zeros.
    const size = Math.max(file.size, command.size)
    if (size > file.size) namespace.change(id, { version: index, modifiedAt: at, size })
    return { type: 'extended', ...answer, file: id, size }
  }

  private rename({ from, to }: CommandOf<'rename'>): FileRecord | QuireError {
    const { namespace } = this.tables
    const refusal = refusePath(from) ?? refusePath(to)
    if (refusal !== undefined) return refusal
    const file = namespace.getByPath(from)
    if (file === undefined) return new NoSuchFileError(from)
    // POSIX: a file that is renamed to itself stays as it is.
    if (from === to) return file
    if (namespace.getByPath(to) !== undefined) this.unlink(to)
    namespace.move(file, to)
    return file
  }

  /** Returns why the file cannot have the path. */
  private link(session: Session, { file: id, path }: CommandOf<'link'>): QuireError | undefined {
    const { namespace } = this.tables
    const refusal = refusePath(path)
    if (refusal !== undefined) return refusal
    // A session that has ended never gets here, and a file goes with the last session that maps it.
    const file = session.files.has(id) ? namespace.get(id) : undefined
    if (file === undefined) return new InvalidArgumentError('file', id, 'a file that this session has open')
    // A client that did not hear the first answer may ask once more, as a new request.
    if (file.linked && file.path === path) return undefined
    // As in Linux: a file whose last path was taken away stays without one.
    if (file.path !== '')
      return new InvalidArgumentError('file', id, `a file without a name; it was named ${file.path}`)
    if (namespace.getByPath(path) !== undefined) this.unlink(path)
    namespace.name(file, path)
    return undefined
  }

  private unlink(path: string): FileRecord | QuireError {
    const { namespace } = this.tables
    const refusal = refusePath(path)
    if (refusal !== undefined) return refusal
    const file = namespace.getByPath(path)
    if (file === undefined) return new NoSuchFileError(path)
    namespace.unlink(file)
    this.removeIfUnused(file.id)
    return file
  }

  private removeIfUnused(id: FileId): void {
    const file = this.tables.namespace.get(id)
    if (file !== undefined && !file.linked && file.sessions.size === 0) this.tables.pages.removeFile(file)
  }
}

function newStat(index: number, path: string, command: CommandOf<'open' | 'createUnnamed'>): WireFileStat {
  const { size, pageSize, unit = 'page', at } = command
  const times = { createdAt: at, modifiedAt: at }
  return {
    id: index,
    path,
    size,
    pageSize: pageSize || DEFAULT_PAGE_BYTES,
    unit,
    version: index,
    discards: 0,
    ...times
  }
}

/** Without the sessions, which are not the client's business. */
function statOf(file: FileRecord): WireFileStat {
  const { id, path, size, pageSize, unit, version, discards, createdAt, modifiedAt } = file
  return { id, path, size, pageSize, unit, version, discards, createdAt, modifiedAt }
}
