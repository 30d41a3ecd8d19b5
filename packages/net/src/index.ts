/**
 * @packageDocumentation
 *
 * The environment of Quire's drivers: a libp2p node, the machine's clock and random source, and key files.
 * `portable/` runs wherever libp2p does; `node/` needs Node.
 */
import './portable/polyfill.js'

export * from './node/clock.js'
export * from './node/errors.js'
export * from './node/keys.js'
export { createLibp2pNetwork, type Libp2pNetworkInit } from './node/create-network.js'
export * from './node/log-ids.js'
export * from './node/random.js'
export * from './portable/abort.js'
export { AddressBook } from './portable/address-book.js'
export * from './portable/errors.js'
export type { Allow, Direction } from './portable/gate.js'
export type { Libp2pNetwork } from './portable/libp2p-network.js'
export type { RelayRole } from './portable/relay/relay-limits.js'
export * from './portable/log-quota.js'
export {
  hostAndPort,
  isPeerId,
  parseListenAddress,
  parsePeerAddress,
  parsePeerAddresses,
  parsePeerId,
  type PeerAddress
} from './portable/multiaddr.js'
export { refuseSharedPlaces } from './portable/shared-places.js'
export * from './portable/short-id.js'
