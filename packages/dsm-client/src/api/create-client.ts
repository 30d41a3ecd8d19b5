/** Assembly of a client from its network, clock and settings. */
import { createClock, createLibp2pNetwork, createRandom, generatePrivateKey, type Libp2pNetwork } from '@quire/net'
import type { ClientComponents } from '../session/session.js'
import type { DsmClient, DsmClientInit } from '../types.js'
import { Client } from './client.js'
import { resolveSettings, type Settings } from './settings.js'

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
  const privateKey = init.privateKey ?? (await generatePrivateKey())
  const network = await createLibp2pNetwork({ privateKey, listen: [], logger: settings.logger })
  try {
    return await start({ network, clock: createClock(), random: createRandom() }, settings, network)
  } catch (error) {
    await network.close()
    throw error
  }
}

/**
 * Like {@link createDsmClient}, on a network, a clock and a random source of the caller. The client does not close the
 * network.
 */
export async function createDsmClientOn(components: ClientComponents, init: DsmClientInit): Promise<DsmClient> {
  return start(components, resolveSettings(init), undefined)
}

async function start(
  components: ClientComponents,
  settings: Settings,
  ownNetwork: Libp2pNetwork | undefined
): Promise<DsmClient> {
  settings.cluster.checkOwnId(components.network.id)
  const client = new Client(components, settings, ownNetwork)
  await client.connect()
  return client
}
