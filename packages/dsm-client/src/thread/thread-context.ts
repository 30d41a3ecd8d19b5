import type { DirectAccess } from '../core/direct-access.js'
import type { Recorder } from '../history.js'
import type { EngineLink } from './engine-link.js'
import type { DsmFile } from '../types.js'
import type { RemoteFile } from './messages.js'

/** What the files, mappings and pins of a client in a thread of its own need of it. */
export interface ThreadContext {
  readonly link: EngineLink
  readonly direct: DirectAccess
  /** The close of the client has begun. */
  readonly isClosing: boolean
  /** Pins that the program has not released, by their number in the client's thread. */
  readonly pins: Map<number, { sessionLost(error: unknown): void }>
  readonly hasHistory: boolean
  /** Milliseconds of the machine's clock. */
  now(): number
  /** Records what the program's thread does by itself, in a session. */
  recorderOf(session: string): Recorder
}

/** What the mappings of a file need of it. */
export interface MappedFile extends DsmFile {
  readonly context: ThreadContext
  readonly remote: RemoteFile
  /** The program has not begun to close the file or the client. */
  readonly isOpen: boolean
}
