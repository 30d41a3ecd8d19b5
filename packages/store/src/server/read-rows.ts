/**
 * One row for each request that reads, which says how the leader answers it from its state. `REQUESTS` of
 * @quire/protocol says what the client sends, and which of its fields are paths.
 */
import { crc32c } from '@node-rs/crc32'
import {
  InvalidArgumentError,
  MAX_CHECKSUM_BYTES,
  MAX_CONTROL_FRAME_BYTES,
  NoSuchFileError,
  PastEndError,
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
import { DamagedPageError } from '../state/damaged-page.js'
import { refusePaths } from '../state/request-paths.js'
import type { SessionId, StateView } from '../state/view.js'

type ReadType = RequestTypeOf<'read'>
type ReadRequests = { readonly [T in ReadType]: ClientMessageOf<T> }
export type ReadRequest<T extends ReadType = ReadType> = ReadRequests[T]

/** Returns the answer to the request, or why it fails. The request's paths are valid. */
type Find<T extends ReadType> = (
  request: ReadRequest<T>,
  view: StateView,
  session: SessionId
) => ReplyTo<T> | QuireError

const NO_QUORUM = new UnavailableError('no majority answered')
const MAX_FILES = 1024
/** The bytes of a frame around its files. */
const FRAME_OVERHEAD_BYTES = 64

const READ_ROWS: { readonly [T in ReadType]: Find<T> } = {
  stat: ({ seq, path }, view) => single(seq, view.fileByPath(path), path),
  statFile: ({ seq, file }, view) => single(seq, view.file(file), `file ${file}`),
  list: (request, view) => refusePrefix(request.prefix) ?? listFiles(request, view),
  checksum: (request, view, session) => refuseRange(request, view, session) ?? checksumOf(request, view)
}

/** Answers the request from the current state, if the quorum round that it waited for has `confirmed` the leader. */
export function answerRead<T extends ReadType>(
  view: StateView,
  request: ReadRequest<T> & { readonly type: T },
  session: SessionId,
  confirmed: boolean
): ReplyTo<T> | LeaderMessageOf<'failed'> {
  if (!confirmed) return failed(request.seq, NO_QUORUM)
  const type: T = request.type
  const find: Find<T> = READ_ROWS[type]
  // A client of this version refuses an invalid path itself. A client of another version may not.
  const found = refusePaths(request) ?? find(request, view, session)
  return found instanceof QuireError ? failed(request.seq, found) : found
}

export function failed(seq: number, error: QuireError): LeaderMessageOf<'failed'> {
  return { type: 'failed', seq, error: errorToWire(error) }
}

function single(seq: number, file: WireFileStat | undefined, name: string): LeaderMessageOf<'files'> | QuireError {
  return file === undefined ? new NoSuchFileError(name) : { type: 'files', seq, files: [file], done: true }
}

function refuseRange(
  { file, offset, length }: ReadRequest<'checksum'>,
  view: StateView,
  session: SessionId
): QuireError | undefined {
  const found = view.file(file)
  if (found?.sessions.has(session) !== true) {
    return new InvalidArgumentError('file', file, 'a file that the session has open')
  }
  if (length > MAX_CHECKSUM_BYTES) return new InvalidArgumentError('length', length, `at most ${MAX_CHECKSUM_BYTES}`)
  return offset + length <= found.size ? undefined : new PastEndError(found.path, offset, found.size)
}

/** The range is within the file. */
function checksumOf(
  { seq, file, offset, length, before }: ReadRequest<'checksum'>,
  view: StateView
): LeaderMessageOf<'checksum'> | QuireError {
  const { pageSize } = view.file(file)!
  const zeros = new Uint8Array(pageSize)
  let checksum = before
  try {
    for (let at = offset; at < offset + length;) {
      const page = Math.floor(at / pageSize)
      const start = page * pageSize
      const end = Math.min(start + pageSize, offset + length)
      const { bytes = zeros } = view.page(file, page)
      checksum = crc32c(bytes.subarray(at - start, end - start), checksum)
      at = end
    }
  } catch (error) {
    if (!(error instanceof DamagedPageError)) throw error
    return new UnavailableError(`a page of file ${file} waits for a good copy`)
  }
  return { type: 'checksum', seq, checksum }
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
