/** Errors that cross from one thread to another. */
import { errorFromWire, errorToWire, QuireError, SessionExpiredError } from '@quire/protocol'
import type { ThreadError } from './messages.js'

export function encodeError(error: unknown): ThreadError {
  if (!(error instanceof QuireError)) return { other: error }
  return { quire: errorToWire(error), lost: error instanceof SessionExpiredError ? error.lost : undefined }
}

/** Returns an object of the same class, with the same facts. */
export function decodeError(error: ThreadError): unknown {
  if ('other' in error) return error.other
  const { quire, lost } = error
  return lost === undefined ? errorFromWire(quire) : new SessionExpiredError(String(quire.facts[0]), lost)
}
