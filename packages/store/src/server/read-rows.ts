/**
 * One row for each request that reads, which says how the leader answers it from its state. `REQUESTS` of
 * @quire/protocol says what the client sends, and which of its fields are paths.
 */
import {
  MAX_CONTROL_FRAME_BYTES,
  NoSuchFileError,
  QuireError,
  encode,
  errorToWire,
  fileStat,
  refusePrefix,
  type ClientMessageOf,
  type LeaderMessage,
  type RequestTypeOf,
  type WireFileStat
} from '@quire/protocol'
import { refusePaths } from '../state/request-paths.js'
import type { StateView } from '../state/view.js'

type ReadType = RequestTypeOf<'read'>
export type ReadRequest<T extends ReadType = ReadType> = ClientMessageOf<T>

interface FoundFiles {
  readonly files: WireFileStat[]
  /** There are no more. */
  readonly done: boolean
}

interface ReadRow<T extends ReadType> {
  /** Returns the files that the request asks for, or why it fails. The request's paths are valid. */
  readonly find: (request: ReadRequest<T>, view: StateView) => FoundFiles | QuireError
}

const MAX_FILES = 1024
/** The bytes of a frame around its files. */
const FRAME_OVERHEAD_BYTES = 64

const READ_ROWS: { readonly [T in ReadType]: ReadRow<T> } = {
  stat: { find: ({ path }, view) => single(view.fileByPath(path), path) },

  statFile: { find: ({ file }, view) => single(view.file(file), `file ${file}`) },

  list: { find: (request, view) => refusePrefix(request.prefix) ?? listFiles(request, view) }
}

/** Answers the request from the current state. Call it only after a quorum round. */
export function answerRead(view: StateView, request: ReadRequest): LeaderMessage {
  // TypeScript does not see that the row and the request have the same type.
  const find = READ_ROWS[request.type].find as ReadRow<ReadType>['find']
  // A client of this version refuses an invalid path itself. A client of another version may not.
  const found = refusePaths(request) ?? find(request, view)
  if (found instanceof QuireError) return failed(request.seq, found)
  return { type: 'files', seq: request.seq, ...found }
}

export function failed(seq: number, error: QuireError): LeaderMessage {
  return { type: 'failed', seq, error: errorToWire(error) }
}

function single(file: WireFileStat | undefined, name: string): FoundFiles | QuireError {
  return file === undefined ? new NoSuchFileError(name) : { files: [file], done: true }
}

/** Returns as many files as were asked for and fit into one frame. */
function listFiles({ prefix, after, limit }: ReadRequest<'list'>, view: StateView): FoundFiles {
  const max = Math.min(MAX_FILES, limit === 0 ? MAX_FILES : limit)
  const found = view.list(prefix, after, max + 1)
  const files: WireFileStat[] = []
  let bytes = FRAME_OVERHEAD_BYTES
  for (const file of found.slice(0, max)) {
    bytes += encode(fileStat, file).length
    if (bytes > MAX_CONTROL_FRAME_BYTES) break
    files.push(file)
  }
  return { files, done: files.length === found.length }
}
