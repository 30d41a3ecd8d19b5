/** The digest of a founding configuration, and the difference of two founding configurations. */
import { shortId } from '@quire/net'
import { encode } from '@quire/protocol'
import { createHash } from 'node:crypto'
import { clusterConfig, type ReplicatedConfig } from '../state/commands.js'

/** The SHA-256 of the encoded configuration in hex. Peers with different digests never link. */
export function foundingDigest(config: ReplicatedConfig): string {
  return createHash('sha256').update(encode(clusterConfig, config)).digest('hex')
}

/** Describes the first difference. `places` name the places of `ours` and `theirs`. Both must be in normal form. */
export function foundingDifference(
  ours: ReplicatedConfig,
  theirs: ReplicatedConfig,
  [here, there]: readonly [string, string] = ['here', 'there']
): string {
  const differs = (what: string, our: string, their: string): string => `${what}: ${our} ${here}, ${their} ${there}`
  if (ours.clusterId !== theirs.clusterId) return differs('cluster id', ours.clusterId, theirs.clusterId)
  const ids = (config: ReplicatedConfig): string => config.members.map(({ peerId }) => shortId(peerId)).join(', ')
  const voters = ours.members.map(({ peerId }) => peerId)
  if (voters.join() !== theirs.members.map(({ peerId }) => peerId).join()) {
    return differs('voters', ids(ours), ids(theirs))
  }
  for (const [i, { peerId, addresses }] of ours.members.entries()) {
    const other = theirs.members[i]!.addresses
    if (addresses.join() !== other.join()) {
      return differs(`addresses of voter ${shortId(peerId)}`, withoutIds(addresses), withoutIds(other))
    }
  }
  if (ours.admins.join() !== theirs.admins.join()) {
    return differs('admins', listed(ours.admins, theirs.admins), listed(theirs.admins, ours.admins))
  }
  if (ours.clients?.join() !== theirs.clients?.join()) {
    return differs('clients', listed(ours.clients, theirs.clients), listed(theirs.clients, ours.clients))
  }
  if (ours.roundTripMs !== theirs.roundTripMs) {
    return differs('round trip', `${ours.roundTripMs} ms`, `${theirs.roundTripMs} ms`)
  }
  return 'no difference that this version knows'
}

function withoutIds(addresses: readonly string[]): string {
  return addresses.map((address) => address.replace(/\/p2p\/.*$/, '')).join(' and ')
}

/** The number of ids, and one that only this side has. */
function listed(ids: readonly string[] | undefined, others: readonly string[] | undefined): string {
  if (ids === undefined) return 'any'
  const theirs = new Set(others)
  const extra = ids.find((id) => !theirs.has(id))
  return extra === undefined ? `${ids.length}` : `${ids.length} (with ${shortId(extra)})`
}
