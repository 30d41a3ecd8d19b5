/**
 * Checks of the numbers that a peer claims. The client leaves a peer with impossible numbers, as it leaves a peer that
 * does not answer. It keeps none of these numbers, because they could break its connections to sound peers.
 */
import {
  MAX_ROUND_TRIP_MS,
  MAX_SESSION_TTL_MS,
  MIN_ROUND_TRIP_MS,
  MIN_SESSION_TTL_MS,
  UnavailableError,
  type LeaderMessageOf
} from '@quire/protocol'

/** Throws UnavailableError for a round trip outside the limits: every timeout derives from it. */
export function checkRoundTripOf(roundTripMs: number): void {
  if (isWithin(roundTripMs, MIN_ROUND_TRIP_MS, MAX_ROUND_TRIP_MS)) return
  throw impossible(`a round trip of ${roundTripMs} ms`)
}

/**
 * Throws UnavailableError for a registration that does not answer the request for `session` (0: a new one) in `term`.
 * Likewise for one that allows no work: a client without credit writes nothing back, and one without faults reads
 * nothing.
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

/**
 * Throws UnavailableError unless `session` is the client's own: on an expiry, the client gives up everything it holds.
 */
export function checkExpired(session: number, own: number): void {
  if (own === 0 || session !== own) throw impossible(`the end of session ${session}, this is ${own}`)
}

function isWithin(value: number, least: number, most: number): boolean {
  return value >= least && value <= most
}

function impossible(claim: string): UnavailableError {
  return new UnavailableError(`answered with ${claim}`)
}
