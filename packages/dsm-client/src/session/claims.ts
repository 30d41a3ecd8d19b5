/**
 * What a peer says of numbers that this client goes by. A peer whose numbers cannot be is left, as one that does not
 * answer: none of them may stay behind and break the connections to sound peers.
 */
import {
  MAX_ROUND_TRIP_MS,
  MAX_SESSION_TTL_MS,
  MIN_ROUND_TRIP_MS,
  MIN_SESSION_TTL_MS,
  UnavailableError,
  type LeaderMessageOf
} from '@quire/protocol'

/** Throws UnavailableError for a round trip that no cluster may have: every time-out derives from it. */
export function checkRoundTripOf(roundTripMs: number): void {
  if (isWithin(roundTripMs, MIN_ROUND_TRIP_MS, MAX_ROUND_TRIP_MS)) return
  throw impossible(`a round trip of ${roundTripMs} ms`)
}

/**
 * Throws UnavailableError for a registration that does not answer the request for `session` (0: a new one) in `term`,
 * or that nobody could work with: without credit nothing is ever written back, without faults nothing is read.
 */
export function checkRegistered(
  { term, session, ttlMs, creditBytes, maxFaults }: LeaderMessageOf<'registered'>,
  wanted: { readonly term: number; readonly session: number }
): void {
  if (term !== wanted.term) throw impossible(`a session in term ${term}, after a welcome in term ${wanted.term}`)
  if (session === 0 || (wanted.session !== 0 && session !== wanted.session)) {
    throw impossible(`session ${session}, asked for ${wanted.session === 0 ? 'a new one' : wanted.session}`)
  }
  if (!isWithin(ttlMs, MIN_SESSION_TTL_MS, MAX_SESSION_TTL_MS)) throw impossible(`a time to live of ${ttlMs} ms`)
  if (creditBytes === 0 || maxFaults === 0) throw impossible(`${creditBytes} bytes of credit and ${maxFaults} faults`)
}

/** Throws UnavailableError unless it is `own` that has ended: the session would be given up with all that it holds. */
export function checkExpired(session: number, own: number): void {
  if (own === 0 || session !== own) throw impossible(`the end of session ${session}, this is ${own}`)
}

function isWithin(value: number, least: number, most: number): boolean {
  return value >= least && value <= most
}

function impossible(claim: string): UnavailableError {
  return new UnavailableError(`answered with ${claim}`)
}
