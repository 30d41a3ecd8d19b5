/**
 * One row for each request that reads, which says how the leader answers it from its state. `REQUESTS` of
 * @quire/protocol says what the client sends, and which of its fields are paths.
 */
import {
  MAX_CONTROL_FRAME_BYTES,
  NoSuchFileError,
  QuireError,
  UnavailableError,
  encode,
  errorToWire,
  fileStat,
  refusePrefix,
  type ClientMessageOf,
  type LeaderMessageOf,
  type ReplyTo,
  type RequestTypeOf,
  type WireFileStat
} from '@quire/protocol'
import { refusePaths } from '../state/request-paths.js'
import type { StateView } from '../state/view.js'

/** Reads of records. A checksum, which reads pages, has a queue of its own: see `StoredChecksums`. */
type ReadType = Exclude<RequestTypeOf<'read'>, 'checksum'>
type ReadRequests = { readonly [T in ReadType]: ClientMessageOf<T> }
export type ReadRequest<T extends ReadType = ReadType> = ReadRequests[T]

/** Returns the answer to the request, or why it fails. The request's paths are valid. */
type Find<T extends ReadType> = (request: ReadRequest<T>, view: StateView) => ReplyTo<T> | QuireError

export const NO_QUORUM = new UnavailableError('no majority answered')
const MAX_FILES = 1024
/** The bytes of a frame around its files. */
const FRAME_OVERHEAD_BYTES = 64

const READ_ROWS: { readonly [T in ReadType]: Find<T> } = {
  stat: ({ seq, path }, view) => single(seq, view.fileByPath(path), path),
  statFile: ({ seq, file }, view) => single(seq, view.file(file), `file ${file}`),
  list: (request, view) => refusePrefix(request.prefix) ?? listFiles(request, view)
}

/** Answers the request from the current state. A quorum round has confirmed the leader since the request arrived. */
export function answerRead<T extends ReadType>(
  view: StateView,
  request: ReadRequest<T> & { readonly type: T }
): ReplyTo<T> | LeaderMessageOf<'failed'> {
  const type: T = request.type
  const find: Find<T> = READ_ROWS[type]
  // A client of this version refuses an invalid path itself. A client of another version may not.
  const found = refusePaths(request) ?? find(request, view)
  return found instanceof QuireError ? failed(request.seq, found) : found
}

export function failed(seq: number, error: QuireError): LeaderMessageOf<'failed'> {
  return { type: 'failed', seq, error: errorToWire(error) }
}

function single(seq: number, file: WireFileStat | undefined, name: string): LeaderMessageOf<'files'> | QuireError {
  return file === undefined ? new NoSuchFileError(name) : { type: 'files', seq, files: [file], done: true }
}

/** Returns as many files as were asked for and fit into one frame. */
function listFiles({ seq, prefix, after, limit }: ReadRequest<'list'>, view: StateView): LeaderMessageOf<'files'> {
  const max = Math.min(MAX_FILES, limit === 0 ? MAX_FILES : limit)
  const found = view.list(prefix, after, max + 1)
  const files: WireFileStat[] = []
  let bytes = FRAME_OVERHEAD_BYTES
  for (const file of found.slice(0, max)) {
    bytes += encode(fileStat, file).length
    if (bytes > MAX_CONTROL_FRAME_BYTES) break
    files.push(file)
  }
  return { type: 'files', seq, files, done: files.length === found.length }
}
