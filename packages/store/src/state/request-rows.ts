/**
 * One row for each type of request in the log, which says how the state machine applies it. `REQUESTS` of
 * @quire/protocol says what the client sends, and which of it the log keeps.
 */
import {
  DEFAULT_PAGE_BYTES,
  FileExistsError,
  InvalidArgumentError,
  NoSuchFileError,
  type QuireError,
  refusePageSize,
  refuseSize,
  type ClientMessageOf,
  type LoggedRequestType,
  type OpenFileRequestType,
  type WireFileStat
} from '@quire/protocol'
import type { AnswerOf } from './answer.js'
import type { CommandOf } from './commands.js'
import type { Namespace } from './namespace.js'
import type { Owners } from './owners.js'
import type { PageChanges } from './page-changes.js'
import type { AnswerTypeFor, ReplyAnswerType } from './replies.js'
import type { SessionEntry, Sessions } from './sessions.js'
import { firstPageBeyond } from './units.js'
import type { FileRecord, StateView } from './view.js'

export interface RequestTables {
  readonly namespace: Namespace
  readonly sessions: Sessions
  readonly owners: Owners
  readonly pages: PageChanges
}

/**
 * A request whose paths are valid. `file` is the file that it names, if its row in `REQUESTS` says that it must be
 * open.
 */
export interface ValidRequest<T extends LoggedRequestType> {
  /** The log index of the entry. */
  readonly index: number
  readonly session: SessionEntry
  readonly command: CommandOf<T>
  readonly file: T extends OpenFileRequestType ? FileRecord : undefined
}

type Messages = { readonly [T in LoggedRequestType]: ClientMessageOf<T> }

/** The fields of an answer, without those that name the request. */
type AnswerFields<A extends ReplyAnswerType> = Omit<AnswerOf<A>, 'type' | 'session' | 'seq'>

type RowWithAnswer<T extends LoggedRequestType, A extends ReplyAnswerType> = {
  /** The type of the answer, which the leader sends as the reply that `REQUESTS` names. */
  readonly answer: A extends AnswerTypeFor<T> ? A : never
  /**
   * Returns whether the request may add to the bytes that the cluster stores. A full cluster refuses such a request.
   */
  readonly stores: (message: Messages[T], view: Pick<StateView, 'file'>) => boolean
  /** Changes the tables and returns the answer, or changes nothing and returns why the request is refused. */
  readonly apply: (request: ValidRequest<T>, tables: RequestTables) => AnswerFields<A> | QuireError
}
export type LoggedRequestRow<T extends LoggedRequestType> = {
  [A in ReplyAnswerType]: RowWithAnswer<T, A>
}[ReplyAnswerType]

export const REQUEST_ROWS: { readonly [T in LoggedRequestType]: LoggedRequestRow<T> } = {
  open: {
    answer: 'opened',
    stores: ({ create }) => create,
    apply: ({ index, session, command }, { namespace, sessions }) => {
      const { path, create, exclusive, size, pageSize, unit } = command
      const refusal = pageSize === 0 ? undefined : refusePageSize(pageSize)
      if (refusal !== undefined) return refusal
      let file = namespace.getByPath(path)
      if (file === undefined) {
        if (!create) return new NoSuchFileError(path)
        const badSize = refuseSize(size)
        if (badSize !== undefined) return badSize
        file = namespace.create(newStat(index, path, command))
      } else if (create && exclusive) {
        return new FileExistsError(path)
      } else if (pageSize !== 0 && pageSize !== file.pageSize) {
        return new InvalidArgumentError('pageSize', pageSize, `${file.pageSize}, as the file has it`)
      } else if (unit !== undefined && unit !== file.unit) {
        return new InvalidArgumentError('unit', unit, `${file.unit}, as the file has it`)
      }
      sessions.map(session, file.id)
      return { stat: statOf(file) }
    }
  },

  createUnnamed: {
    answer: 'opened',
    stores: () => true,
    apply: ({ index, session, command }, { namespace, sessions }) => {
      const { pageSize, size } = command
      const refusal = (pageSize === 0 ? undefined : refusePageSize(pageSize)) ?? refuseSize(size)
      if (refusal !== undefined) return refusal
      const file = namespace.createUnnamed(newStat(index, '', command))
      sessions.map(session, file.id)
      return { stat: statOf(file) }
    }
  },

  close: {
    answer: 'closed',
    stores: () => false,
    apply: ({ session, command: { file } }, { owners, sessions, pages }) => {
      owners.releaseFile(session.id, file)
      sessions.unmap(session, file)
      pages.removeUnused(file)
      return { file }
    }
  },

  extend: {
    answer: 'extended',
    stores: () => true,
    apply: ({ index, command, file }, { namespace }) => {
      const refusal = refuseSize(command.size)
      if (refusal !== undefined) return refusal
      // Bytes between the old and the new end were never stored, so the new part reads as zeros.
      const size = Math.max(file.size, command.size)
      if (size > file.size) namespace.change(file.id, { version: index, modifiedAt: command.at, size })
      return { file: file.id, size }
    }
  },

  truncate: {
    answer: 'truncated',
    // A file that shrinks makes room.
    stores: ({ file, size }, view) => size > (view.file(file)?.size ?? 0),
    apply: ({ index, command, file }, { pages }) => {
      const refusal = refuseSize(command.size)
      if (refusal !== undefined) return refusal
      pages.truncate(index, file, command)
      return { file: file.id, size: command.size }
    }
  },

  punch: {
    answer: 'punched',
    stores: () => false,
    apply: ({ index, command, file }, { pages }) => {
      const end = Math.min(command.end, firstPageBeyond(file.size, file.pageSize))
      const first = Math.min(command.first, end)
      pages.punch(index, file, first, end, command.at)
      return { file: file.id, first, end }
    }
  },

  rename: {
    answer: 'renamed',
    stores: () => false,
    apply: ({ command: { from, to } }, tables) => {
      const { namespace } = tables
      const file = namespace.getByPath(from)
      if (file === undefined) return new NoSuchFileError(from)
      // POSIX: a file that is renamed to itself stays as it is.
      if (from !== to) {
        unlink(to, tables)
        namespace.move(file, to)
      }
      return { file: file.id }
    }
  },

  unlink: {
    answer: 'unlinked',
    stores: () => false,
    apply: ({ command: { path } }, tables) => {
      const file = unlink(path, tables)
      return file === undefined ? new NoSuchFileError(path) : { file: file.id }
    }
  },

  link: {
    answer: 'linked',
    stores: () => false,
    apply: ({ command: { path }, file }, tables) => {
      const { namespace } = tables
      // A client that has lost the first answer may ask again in a new request.
      if (file.linked && file.path === path) return { file: file.id }
      // As in Linux, a file that has lost its last path stays without one.
      if (file.path !== '') {
        return new InvalidArgumentError('file', file.id, `a file without a name; it was named ${file.path}`)
      }
      unlink(path, tables)
      namespace.name(file, path)
      return { file: file.id }
    }
  }
}

/** Returns whether the request may add to the bytes that the cluster stores. */
export function mayStore<T extends LoggedRequestType>(
  message: Messages[T] & { readonly type: T },
  view: Pick<StateView, 'file'>
): boolean {
  const type: T = message.type
  const row: LoggedRequestRow<T> = REQUEST_ROWS[type]
  return row.stores(message, view)
}

/** Removes the path, and returns the file that it led to. */
function unlink(path: string, { namespace, pages }: RequestTables): FileRecord | undefined {
  const file = namespace.getByPath(path)
  if (file === undefined) return undefined
  namespace.unlink(file)
  pages.removeUnused(file.id)
  return file
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

/** Leaves out the sessions, which do not concern a client. */
function statOf(file: FileRecord): WireFileStat {
  const { id, path, size, pageSize, unit, version, discards, createdAt, modifiedAt } = file
  return { id, path, size, pageSize, unit, version, discards, createdAt, modifiedAt }
}
