/** Assembly of a client from its network, clock and settings. */
import { createClock, createLibp2pNetwork, createRandom, generatePrivateKey, type Libp2pNetwork } from '@quire/net'
import type { SharedFrames } from '../core/shared-frames.js'
import type { ClientComponents } from '../session/session.js'
import type { DsmClient, DsmClientInit } from '../types.js'
import { Client } from './client.js'
import { resolveSettings, type Settings } from './settings.js'

/** As `createDsmClient`, on this thread. `frames`: default slabs of the size in `init`. */
export async function createClientHere(init: DsmClientInit, frames?: SharedFrames): Promise<Client> {
  const settings = resolveSettings(init)
  const privateKey = init.privateKey ?? (await generatePrivateKey())
  const network = await createLibp2pNetwork({ privateKey, listen: [], logger: settings.logger })
  try {
    return await start({ network, clock: createClock(), random: createRandom() }, settings, network, frames)
  } catch (error) {
    await network.close()
    throw error
  }
}

/**
 * Like `createDsmClient`, on a network, a clock and a random source of the caller. The client does not close the
 * network.
 */
export function createDsmClientOn(components: ClientComponents, init: DsmClientInit): Promise<DsmClient> {
  return createClientOn(components, init)
}

/** As `createDsmClientOn`. `frames`: as for `createClientHere`. */
export async function createClientOn(
  components: ClientComponents,
  init: DsmClientInit,
  frames?: SharedFrames
): Promise<Client> {
  return start(components, resolveSettings(init), undefined, frames)
}

async function start(
  components: ClientComponents,
  settings: Settings,
  ownNetwork?: Libp2pNetwork,
  frames?: SharedFrames
): Promise<Client> {
  settings.cluster.checkOwnId(components.network.id)
  const client = new Client(components, settings, ownNetwork, frames)
  await client.connect()
  return client
}
