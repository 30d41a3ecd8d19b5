/** The cluster's configuration, as its founder writes it and as the log keeps it. */
import { parsePeerAddress, parsePeerId, refuseSharedPlaces } from '@quire/net'
import {
  DEFAULT_ROUND_TRIP_MS,
  InvalidArgumentError,
  MAX_ADDRESSES,
  MAX_CONFIGURATION_BYTES,
  MAX_MEMBERS,
  checkRoundTrip,
  encode
} from '@quire/protocol'
import type { PeerId } from '@libp2p/interface'
import {
  MAX_ADMINS,
  MAX_CLIENTS,
  NOTHING_CHANGED,
  clusterConfig,
  type ConfigMember,
  type ReplicatedConfig
} from '../state/commands.js'
import { repeatedKey } from './json-keys.js'

/** A PeerId, or its text. */
export type PeerIdLike = PeerId | string

/**
 * The configuration that a cluster is founded from; it is the same for each founding voter. From then on, the log
 * decides.
 */
export interface ClusterConfig {
  /** The cluster's permanent name: 1 to 64 letters, digits, dots, dashes or underscores. */
  readonly clusterId: string
  /**
   * The voters, with the multiaddrs at which peers and clients reach them. /p2p/<PeerId> at the end may be left out.
   */
  readonly voters: readonly { readonly peerId: PeerIdLike; readonly addresses: readonly string[] }[]
  readonly admins: readonly PeerIdLike[]
  readonly clients: readonly PeerIdLike[] | 'any'
  /**
   * The longest round trip between two voters, in milliseconds, from 10 to 1000. All timeouts follow it. Default 32.
   */
  readonly roundTripMs?: number | undefined
}

const OWN_KEY = "this one is a voter's, and each node needs a key of its own (quire keygen)"

/** Checks a configuration and returns its normal form, which all voters write alike. Throws InvalidArgumentError. */
export function normalizeCluster(config: ClusterConfig): ReplicatedConfig {
  if (!/^[A-Za-z0-9._-]{1,64}$/.test(config.clusterId)) {
    throw new InvalidArgumentError(
      'clusterId',
      config.clusterId,
      '1 to 64 letters, digits, dots, dashes or underscores'
    )
  }
  if (config.voters.length === 0 || config.voters.length > MAX_MEMBERS) {
    throw new InvalidArgumentError('voters', config.voters.length, `1 to ${MAX_MEMBERS}`)
  }
  const members = config.voters.map(({ peerId, addresses }) =>
    foundingMember(parsePeerId(String(peerId), 'voters'), addresses)
  )
  members.sort(byPeerId)
  const { roundTripMs = DEFAULT_ROUND_TRIP_MS } = config
  checkRoundTrip(roundTripMs, 'roundTripMs')
  for (const [i, { peerId }] of members.entries()) {
    if (members[i + 1]?.peerId === peerId) throw new InvalidArgumentError('voters', peerId, 'named once')
  }
  refuseSharedPlaces(members.flatMap(({ peerId, addresses }) => addresses.map((address) => ({ peerId, address }))))
  const clients = config.clients === 'any' ? undefined : normalizeIds(config.clients, 'clients', MAX_CLIENTS)
  const admins = normalizeIds(config.admins, 'admins', MAX_ADMINS)
  // A client or an admin cannot use a voter's key, because a node does not dial itself.
  const isVoter = (id: string): boolean => members.some(({ peerId }) => peerId === id)
  const client = clients?.find(isVoter)
  if (client !== undefined) throw new InvalidArgumentError('clients', client, `the PeerId of a client: ${OWN_KEY}`)
  const admin = admins.find(isVoter)
  if (admin !== undefined) throw new InvalidArgumentError('admins', admin, `the PeerId of an admin: ${OWN_KEY}`)
  const normal = { clusterId: config.clusterId, members, admins, clients, roundTripMs, ...NOTHING_CHANGED }
  const { length } = encodeCluster(normal)
  if (length > MAX_CONFIGURATION_BYTES) {
    throw new InvalidArgumentError('cluster', `${length} bytes`, `at most ${MAX_CONFIGURATION_BYTES} bytes in all`)
  }
  return normal
}

/** The context of the first log entry. */
export function encodeCluster(config: ReplicatedConfig): Uint8Array {
  return encode(clusterConfig, config)
}

/** Reads a cluster file (JSON) as `quire init` writes it. Throws InvalidArgumentError, which names `where`. */
export function parseClusterFile(text: string, where: string): ClusterConfig {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new InvalidArgumentError('cluster file', where, 'a JSON file as `quire init` writes it')
  }
  const repeated = repeatedKey(text)
  if (repeated !== undefined) {
    throw new InvalidArgumentError('cluster file', where, `without the key ${JSON.stringify(repeated)} twice`)
  }
  const file = value as Partial<ClusterConfig> | null
  checkKeys(file, ['clusterId', 'voters', 'admins', 'clients', 'roundTripMs'], where)
  for (const voter of Array.isArray(file?.voters) ? file.voters : []) checkKeys(voter, ['peerId', 'addresses'], where)
  const { clusterId, voters, admins = [], clients, roundTripMs } = file ?? {}
  const isWhole =
    typeof clusterId === 'string' &&
    Array.isArray(voters) &&
    voters.every((voter) => typeof voter?.peerId === 'string' && isTexts(voter.addresses)) &&
    isTexts(admins) &&
    (clients === 'any' || isTexts(clients)) &&
    (roundTripMs === undefined || typeof roundTripMs === 'number')
  if (!isWhole)
    throw new InvalidArgumentError('cluster file', where, 'an object with clusterId, voters, admins and clients')
  return { clusterId, voters, admins, clients, roundTripMs }
}

/** An unknown key may be a misspelled one. The cluster would be founded without its value. */
function checkKeys(value: unknown, known: readonly string[], where: string): void {
  if (typeof value !== 'object' || value === null) return
  const unknown = Object.keys(value).find((key) => !known.includes(key))
  if (unknown !== undefined) {
    throw new InvalidArgumentError('cluster file', where, `without the unknown key ${JSON.stringify(unknown)}`)
  }
}

export function formatClusterFile(config: ClusterConfig): string {
  const { clusterId, members, admins, clients, roundTripMs } = normalizeCluster(config)
  const voters = members.map(({ peerId, addresses }) => ({ peerId, addresses }))
  return JSON.stringify({ clusterId, voters, admins, clients: clients ?? 'any', roundTripMs }, undefined, 2) + '\n'
}

/** The beginning of the reason why an identity without a rule is not let in. A remedy follows after a semicolon. */
export const UNLISTED = 'it is not among the clients'

/** True if `peerId` may connect; otherwise the reason why not. */
export function mayConnect(config: ReplicatedConfig, peerId: string): true | string {
  const { clusterId, members, invited, admins, clients, denied } = config
  if (admins.includes(peerId)) return true
  if ([...members, ...invited].some((member) => member.peerId === peerId)) return true
  if (denied.includes(peerId)) return `an admin of cluster ${clusterId} has denied it access`
  if (clients === undefined || clients.includes(peerId)) return true
  return `${UNLISTED} of cluster ${clusterId}; use the key of a listed client, or let an admin allow this one (quire clients allow)`
}

/** Checks the addresses of a peer. Throws InvalidArgumentError. */
export function normalAddresses(peerId: string, addresses: readonly string[]): string[] {
  if (addresses.length === 0 || addresses.length > MAX_ADDRESSES) {
    throw new InvalidArgumentError('addresses', addresses.length, `1 to ${MAX_ADDRESSES} of each peer`)
  }
  const normal = addresses.map((address) => {
    const parsed = parsePeerAddress(address.includes('/p2p/') ? address : `${address}/p2p/${peerId}`, 'addresses')
    if (parsed.peerId !== peerId) throw new InvalidArgumentError('addresses', address, `an address of ${peerId}`)
    return parsed.address
  })
  const places = normal.map((address) => address.toLowerCase())
  const twice = normal.find((_, i) => places.indexOf(places[i]!) < i)
  if (twice !== undefined) throw new InvalidArgumentError('addresses', twice, 'named once')
  return normal
}

function foundingMember(peerId: string, addresses: readonly string[]): ConfigMember {
  return { peerId, incarnation: '', addresses: normalAddresses(peerId, addresses) }
}

function normalizeIds(ids: readonly PeerIdLike[], argument: string, limit: number): string[] {
  const normal = [...new Set(ids.map((id) => parsePeerId(String(id), argument)))].sort()
  if (normal.length > limit) throw new InvalidArgumentError(argument, normal.length, `at most ${limit}`)
  return normal
}

function byPeerId(a: ConfigMember, b: ConfigMember): number {
  return a.peerId < b.peerId ? -1 : a.peerId > b.peerId ? 1 : 0
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string')
}
