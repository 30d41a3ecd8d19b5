/**
 * The requests of a session, one row each. The client, the leader and the state machine read this table: a new request
 * is a row here, and a row in the store: of `REQUEST_ROWS` (packages/store/src/state/request-rows.ts) if the log
 * carries it, of `READ_ROWS` (packages/store/src/server/read-rows.ts) if it reads. If the state machine has to
 * remember an answer of a new type, `answer` (packages/store/src/state/answer.ts) and `REPLIES` (replies.ts beside it)
 * get a row for that type.
 */
import { bool, optional, struct, uint, type Codec, type StructOf, type TypeOf } from './codec.js'
import { dirtyPage, filePath, unit } from './files.js'

// The values of a row have different types; each is typed where it is used.
// eslint-disable-next-line @typescript-eslint/no-explicit-any
type Fields = Readonly<Record<string, Codec<any>>>

export interface RequestRow {
  /**
   * How the leader carries the request out.
   * - `change`: it goes into the log.
   * - `discard`: it goes into the log when every session that maps the file has given the pages up.
   * - `read`: the leader answers it from its state, after a quorum round.
   * - `end`: it goes into the log and ends the session.
   */
  readonly kind: 'change' | 'discard' | 'read' | 'end'
  /** The tag of the message. Part of the format: a tag is never used again. */
  readonly tag: number
  /** The message's fields behind `seq` and, for all but a read, `settled`. */
  readonly fields: Fields
  /** Its entry in the log, which has all fields of the message. */
  readonly entry?: {
    /** The tag of the command. Part of the format: a tag is never used again. */
    readonly tag: number
    /** Fields that the leader adds. */
    readonly adds?: Fields
  }
  /** Names of `fields`, which must be valid paths. */
  readonly paths?: readonly string[]
  /** `open`: the state machine refuses the request unless the session has `file` open. */
  readonly file?: 'open'
  /** The type of the answer, if the request does not fail. */
  readonly reply: 'opened' | 'done' | 'files' | 'checksum'
}

/** The names of the fields that hold text. */
type TextOf<F extends Fields> = { [K in keyof F]: TypeOf<F[K]> extends string ? K : never }[keyof F]

/** Returns the row. It compiles if `paths` names fields of the row that hold text. */
function row<const F extends Fields, const R extends RequestRow>(
  of: R & { readonly fields: F; readonly paths?: readonly TextOf<F>[] }
): R {
  return of
}

export const REQUESTS = {
  open: row({
    kind: 'change',
    tag: 10,
    fields: {
      path: filePath,
      create: bool,
      exclusive: bool,
      /** For a file that is created; ignored for one that exists. */
      size: uint,
      /** 0: the file's own, or the default. */
      pageSize: uint,
      /** Absent: the file's own, or 'page'. */
      unit: optional(unit)
    },
    entry: { tag: 10 },
    paths: ['path'],
    reply: 'opened'
  }),
  /**
   * Creates a file without a path and opens it. The file ends with the session unless `link` gives it a path before.
   */
  createUnnamed: row({
    kind: 'change',
    tag: 7,
    fields: { size: uint, pageSize: uint, unit: optional(unit) },
    entry: { tag: 17 },
    reply: 'opened'
  }),
  /** The session no longer maps the file. It has written all dirty pages back; its owned pages are released. */
  close: row({ kind: 'change', tag: 11, fields: { file: uint }, entry: { tag: 11 }, reply: 'done' }),
  /** Grows the file to at least `size`. */
  extend: row({
    kind: 'change',
    tag: 12,
    fields: { file: uint, size: uint },
    entry: { tag: 12 },
    file: 'open',
    reply: 'done'
  }),
  /**
   * Sets the file's size. `tail` holds the unflushed bytes that the owner of the page cut by the new end has given
   * back.
   */
  truncate: row({
    kind: 'discard',
    tag: 17,
    fields: { file: uint, size: uint },
    entry: { tag: 13, adds: { tail: optional(dirtyPage) } },
    file: 'open',
    reply: 'done'
  }),
  /** The pages from `first` up to but excluding `end` become holes. The size stays. */
  punch: row({
    kind: 'discard',
    tag: 18,
    fields: { file: uint, first: uint, end: uint },
    entry: { tag: 14 },
    file: 'open',
    reply: 'done'
  }),
  /** Gives the file at `from` the path `to`, which no longer leads to the file that it led to. */
  rename: row({
    kind: 'change',
    tag: 19,
    fields: { from: filePath, to: filePath },
    entry: { tag: 15 },
    paths: ['from', 'to'],
    reply: 'done'
  }),
  unlink: row({
    kind: 'change',
    tag: 9,
    fields: { path: filePath },
    entry: { tag: 16 },
    paths: ['path'],
    reply: 'done'
  }),
  /**
   * Gives an unnamed file a path, which no longer leads to the file that it led to. The session asks for it when all
   * its writebacks are acknowledged, so every writeback that it knows to be durable stands before this entry in the
   * log.
   */
  link: row({
    kind: 'change',
    tag: 8,
    fields: { file: uint, path: filePath },
    entry: { tag: 18 },
    paths: ['path'],
    file: 'open',
    reply: 'done'
  }),
  endSession: row({ kind: 'end', tag: 13, fields: {}, reply: 'done' }),
  stat: row({ kind: 'read', tag: 14, fields: { path: filePath }, paths: ['path'], reply: 'files' }),
  statFile: row({ kind: 'read', tag: 15, fields: { file: uint }, reply: 'files' }),
  /** Files whose path starts with `prefix` and sorts after `after`, in order of path. */
  list: row({ kind: 'read', tag: 16, fields: { prefix: filePath, after: filePath, limit: uint }, reply: 'files' }),
  /**
   * The checksum of stored bytes, at most `MAX_CHECKSUM_BYTES`. `before` is that of the bytes before them, or 0, so
   * that a long range can be asked for in parts.
   */
  checksum: row({
    kind: 'read',
    tag: 26,
    fields: { file: uint, offset: uint, length: uint, before: uint },
    reply: 'checksum'
  })
}

type Rows = typeof REQUESTS
export type RequestType = keyof Rows
export type RequestKind = RequestRow['kind']
/** The types of the requests that are of kind `K`. */
export type RequestTypeOf<K extends RequestKind> = {
  [T in RequestType]: Rows[T]['kind'] extends K ? T : never
}[RequestType]
/** Requests that the log carries, and that are applied once however often they come. */
export type LoggedRequestType = RequestTypeOf<'change' | 'discard'>
/** Requests whose `file` the session must have open. */
export type OpenFileRequestType = {
  [T in RequestType]: Rows[T] extends { readonly file: 'open' } ? T : never
}[RequestType]

// A session repeats an unanswered request after a reconnection with the same `seq`, and it is applied once. All answers
// below `settled` have arrived at the client, so the state machine may forget them.
const numbered = { seq: uint, settled: uint }

type Numbers<T extends RequestType> = T extends RequestTypeOf<'read'> ? Pick<typeof numbered, 'seq'> : typeof numbered
type MessageVariants = {
  readonly [T in RequestType]: readonly [tag: number, codec: Codec<StructOf<Numbers<T> & Rows[T]['fields']>>]
}

/** The messages of all requests, as variants of a union. */
export const requestMessages = variants(({ kind, tag, fields }) => [
  tag,
  struct({ ...(kind === 'read' ? { seq: uint } : numbered), ...fields })
]) as MessageVariants

type Added<T extends LoggedRequestType> = Rows[T]['entry'] extends { readonly adds: infer A extends Fields }
  ? A
  : unknown
type EntryVariants<C extends Fields> = {
  readonly [T in LoggedRequestType]: readonly [tag: number, codec: Codec<StructOf<C & Rows[T]['fields'] & Added<T>>>]
}

/** The log entries of all requests that have one, as variants of a union. Each begins with the fields of `common`. */
export function requestEntries<C extends Fields>(common: C): EntryVariants<C> {
  return variants(({ entry, fields }) =>
    entry === undefined ? undefined : [entry.tag, struct({ ...common, ...fields, ...entry.adds })]
  ) as EntryVariants<C>
}

function variants(variantOf: (row: RequestRow) => readonly [tag: number, codec: Codec<unknown>] | undefined): unknown {
  const found = Object.entries<RequestRow>(REQUESTS).map(([type, row]) => [type, variantOf(row)] as const)
  return Object.fromEntries(found.filter(([, variant]) => variant !== undefined))
}
