/** How a peer with a real directory and a real network joins a cluster. */
import { createClock, createLibp2pNetwork, parsePeerAddress, type Libp2pNetwork, type PrivateKey } from '@quire/net'
import { InvalidArgumentError, type Member } from '@quire/protocol'
import type { Logger } from 'pino'
import type { DataDirectory, DataDirectoryInit } from './data-dir.js'
import { hasToJoin } from './directory-identity.js'
import { askToJoin } from './joining.js'
import { checkListen } from './listen.js'
import { memberToRejoin } from './rejoining.js'

/** How a peer joins a cluster (docs/membership.md, Joining). */
export interface JoinInit {
  /** Multiaddrs of members, each of which ends in /p2p/<PeerId>. One that answers is enough. */
  readonly members: readonly string[]
  /**
   * The data directory with which the peer is a member, and which it has lost: `founder` for that of a founding voter,
   * otherwise the incarnation. The peer asks for its own place with a new directory. If the old one is still there, its
   * content is moved away. No effect on any other directory.
   */
  readonly rejoins?: string | undefined
}

interface JoiningPeer {
  readonly dataDir: string
  readonly privateKey: PrivateKey
  readonly join?: JoinInit
  readonly signal?: AbortSignal
  readonly logger?: Logger
}

/**
 * Waits until the cluster has invited this peer, if its directory has to join. Makes no directory: an operator may
 * repeat or give up a start that waits. Throws InvalidArgumentError, and rejects as `askToJoin` does.
 */
export async function waitForInvitation(
  { dataDir, privateKey, join, signal, logger }: JoiningPeer,
  id: string,
  listen: readonly string[]
): Promise<DataDirectoryInit['join']> {
  if (join === undefined) return undefined
  const rejoins = lostMember(join, id)
  const seeds = seedsOf(join, id)
  if (!hasToJoin(dataDir, rejoins)) {
    if (rejoins !== '') logger?.warn({ dataDir }, 'this data directory is not the one to be given up: it stays in use')
    return undefined
  }
  await checkListen(listen)
  const network = await createLibp2pNetwork({ privateKey, listen: [] })
  try {
    const advice = `quire members add ${listen.map((address) => `${address}/p2p/${id}`).join(',')}`
    const cluster = await askToJoin({ network, clock: createClock(), seeds, rejoins, advice, signal, logger })
    return { cluster, rejoins }
  } finally {
    await network.close()
  }
}

/** Asks the leader to make the directory a member, if it is none yet. Rejects as `askToJoin` does. */
export async function becomeMember(
  { join, signal, logger }: JoiningPeer,
  directory: DataDirectory,
  network: Libp2pNetwork
): Promise<void> {
  const { incarnation, joinedCluster: cluster, bootstrapped } = directory
  if (cluster === undefined || bootstrapped) return
  const seeds = join === undefined ? [] : seedsOf(join, network.id)
  const rejoins = lostMember(join, network.id)
  const advice = 'quire members list shows who is invited'
  const init = { network, clock: createClock(), seeds, rejoins, advice, signal, logger }
  directory.becomeMember(await askToJoin(init, { incarnation, cluster }))
}

/** The id of the member whose place the peer asks for; empty if there is none. */
function lostMember(join: JoinInit | undefined, self: string): string {
  return join?.rejoins === undefined ? '' : memberToRejoin(self, join.rejoins)
}

function seedsOf({ members }: JoinInit, self: string): Member[] {
  if (members.length === 0) throw new InvalidArgumentError('join', 0, 'one address or more')
  return members.map((text) => {
    const { peerId, address } = parsePeerAddress(text, 'join')
    if (peerId === self) throw new InvalidArgumentError('join', text, 'the address of another peer')
    return { peerId, addresses: [address] }
  })
}
