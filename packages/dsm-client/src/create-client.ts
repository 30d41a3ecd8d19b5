import { createClientHere } from './api/create-client.js'
import { resolveSettings } from './api/settings.js'
import { createThreadedClient } from './thread/threaded-client.js'
import type { DsmClient, DsmClientInit } from './types.js'

/**
 * Connects to the cluster and opens a session.
 *
 * Rejects at once with InvalidArgumentError for malformed settings, for an address that cannot be dialed, and for the
 * key of a given peer; later, for the key of a peer that another peer names. Rejects with
 *
 * - NotAuthorizedError if the cluster does not list this client, or if a peer belongs to another cluster. One refusal
 *   is enough, unless another known peer accepts the client within a second.
 * - QuotaExceededError if the cluster has no room for another session.
 * - VersionMismatchError.
 * - UnavailableError if no leader can be reached within `faultTimeoutMs`. Its reason repeats the last answer of each
 *   peer.
 *
 * A rejection leaves nothing open.
 */
export async function createDsmClient(init: DsmClientInit): Promise<DsmClient> {
  const settings = resolveSettings(init)
  return settings.thread ? createThreadedClient(init, settings) : createClientHere(init)
}
