/**
 * @packageDocumentation
 *
 * The real world for Quire's drivers: a libp2p node as {@link Network}, the process's clock and chance, and key files.
 */
import './polyfill.js'

export * from './abort.js'
export { AddressBook } from './address-book.js'
export * from './clock.js'
export * from './errors.js'
export * from './frame-stream.js'
export type { Allow, Direction } from './gate.js'
export * from './keys.js'
export * from './libp2p-network.js'
export * from './log-ids.js'
export * from './log-quota.js'
export * from './multiaddr.js'
export * from './random.js'
export * from './short-id.js'
