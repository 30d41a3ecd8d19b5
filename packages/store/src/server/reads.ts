/** Answers to reads from the current state. Call these functions only after a quorum round. */
import {
  MAX_CONTROL_FRAME_BYTES,
  NoSuchFileError,
  encode,
  errorToWire,
  fileStat,
  refusePath,
  refusePrefix,
  type ClientMessageOf,
  type LeaderMessage,
  type QuireError,
  type RequestTypeOf,
  type WireFileStat
} from '@quire/protocol'
import type { StateView } from '../state/view.js'

export type ReadRequest = ClientMessageOf<RequestTypeOf<'read'>>

const MAX_FILES = 1024
/** The bytes of a frame around its files. */
const FRAME_OVERHEAD_BYTES = 64

export function answerRead(view: StateView, request: ReadRequest): LeaderMessage {
  const refusal = refuseRead(request)
  if (refusal !== undefined) return failed(request.seq, refusal)
  if (request.type === 'list') return listFiles(view, request)
  const file = request.type === 'stat' ? view.fileByPath(request.path) : view.file(request.file)
  if (file !== undefined) return { type: 'files', seq: request.seq, files: [file], done: true }
  return failed(request.seq, new NoSuchFileError(request.type === 'stat' ? request.path : `file ${request.file}`))
}

/** A client of this version refuses such a text itself. A client of another version may not. */
function refuseRead(request: ReadRequest): QuireError | undefined {
  if (request.type === 'statFile') return undefined
  return request.type === 'stat' ? refusePath(request.path) : refusePrefix(request.prefix)
}

export function failed(seq: number, error: QuireError): LeaderMessage {
  return { type: 'failed', seq, error: errorToWire(error) }
}

/** As many files as were asked for and fit into one frame. `done` if there are no more. */
function listFiles(view: StateView, request: ClientMessageOf<'list'>): LeaderMessage {
  const limit = Math.min(MAX_FILES, request.limit === 0 ? MAX_FILES : request.limit)
  const found = view.list(request.prefix, request.after, limit + 1)
  const files: WireFileStat[] = []
  let bytes = FRAME_OVERHEAD_BYTES
  for (const file of found.slice(0, limit)) {
    bytes += encode(fileStat, file).length
    if (bytes > MAX_CONTROL_FRAME_BYTES) break
    files.push(file)
  }
  return { type: 'files', seq: request.seq, files, done: files.length === found.length }
}
