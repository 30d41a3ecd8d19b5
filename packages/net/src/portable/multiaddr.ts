/** Multiaddrs and PeerIds as people write them. Every check here is local: nothing is resolved or dialed. */
import './polyfill.js'
import { peerIdFromString } from '@libp2p/peer-id'
import { CODE_P2P, multiaddr, type Component } from '@multiformats/multiaddr'
import { InvalidArgumentError } from '@quire/protocol'
import { problemOfDialing, problemOfSyntax } from './address-problems.js'

/** The address and the identity of a node. `address` is the whole multiaddr, its /p2p/ part included. */
export interface PeerAddress {
  readonly peerId: string
  readonly address: string
}

const EXPECTED = 'a multiaddr that ends in /p2p/<PeerId>, such as /ip4/192.0.2.1/tcp/4001/p2p/12D3Koo…'

/**
 * Parses a peer's multiaddr that this version can dial: a host, a TCP port, and /p2p/ID at the end. Throws
 * {@link InvalidArgumentError} for any other text; the error names `argument`, the address and what is wrong with it.
 */
export function parsePeerAddress(text: string, argument = 'address'): PeerAddress {
  const id = /\/p2p\/([^/]*)$/.exec(text)?.[1]
  if (id !== undefined && !isPeerId(id)) {
    const problem = `${JSON.stringify(id)} is not a PeerId (quire id FILE prints that of a key)`
    throw new InvalidArgumentError(argument, text, `a multiaddr that ends in /p2p/<PeerId>: ${problem}`)
  }
  const parts = componentsOf(text, argument, EXPECTED)
  const last = parts.at(-1)
  if (parts.length < 2 || last?.code !== CODE_P2P || last.value === undefined) {
    throw new InvalidArgumentError(argument, text, EXPECTED)
  }
  const problem = problemOfDialing(parts.slice(0, -1))
  if (problem !== undefined) throw new InvalidArgumentError(argument, text, `an address that can be dialed: ${problem}`)
  try {
    return { peerId: peerIdFromString(last.value).toString(), address: multiaddr(text).toString() }
  } catch {
    throw new InvalidArgumentError(argument, text, EXPECTED)
  }
}

/**
 * Parses a list of addresses, or one text that separates them by commas and white space as QUIRE_PEERS does. Throws
 * {@link InvalidArgumentError} for the first address that is wrong, and for an empty list.
 */
export function parsePeerAddresses(addresses: string | readonly string[], argument = 'addresses'): PeerAddress[] {
  const list = typeof addresses === 'string' ? addresses.split(/[\s,]+/).filter((text) => text !== '') : addresses
  if (list.length === 0) {
    throw new InvalidArgumentError(
      argument,
      typeof addresses === 'string' ? addresses : '',
      `the addresses of one peer or more, each ${EXPECTED}`
    )
  }
  return list.map((text) => parsePeerAddress(text, argument))
}

/**
 * True if this version can dial `address` to reach this peer. The address may end in /p2p or not. Use it for addresses
 * that other peers report: they are hints, and a useless one is skipped rather than refused.
 */
export function isAddressOf(peerId: string, address: string): boolean {
  const at = address.indexOf('/p2p/')
  const place = at < 0 ? address : address.slice(0, at)
  try {
    const isPeers = at < 0 || isSamePeer(address.slice(at + '/p2p/'.length), peerId)
    return isPeers && problemOfDialing(componentsOf(place, 'address', EXPECTED)) === undefined
  } catch {
    return false
  }
}

/** One PeerId may be written in several encodings. */
function isSamePeer(a: string, b: string): boolean {
  return a === b || parsePeerId(a) === parsePeerId(b)
}

/** Checks a multiaddr to listen on, such as /ip4/0.0.0.0/tcp/0, and returns it normalized. */
export function parseListenAddress(text: string, argument = 'listen'): string {
  const expected = 'a TCP multiaddr such as /ip4/0.0.0.0/tcp/4001'
  const names = componentsOf(text, argument, expected).map((part) => part.name)
  if (names.length !== 2 || !/^(ip4|ip6|dns|dns4|dns6)$/.test(names[0]!) || names[1] !== 'tcp') {
    throw new InvalidArgumentError(argument, text, expected)
  }
  return multiaddr(text).toString()
}

/**
 * Checks a PeerId and returns its usual text (base58btc). Throws {@link InvalidArgumentError} that names `argument`.
 */
export function parsePeerId(text: string, argument = 'peerId'): string {
  try {
    return peerIdFromString(text).toString()
  } catch {
    throw new InvalidArgumentError(argument, text, 'a PeerId such as 12D3Koo…')
  }
}

export function isPeerId(text: string): boolean {
  try {
    parsePeerId(text)
    return true
  } catch {
    return false
  }
}

/**
 * The host and port of a multiaddr in their usual form: 192.0.2.1:4001 or [2001:db8::1]:4001. Other text stays as it
 * is.
 */
export function hostAndPort(address: string): string {
  const match = /^\/(ip4|ip6|dns|dns4|dns6)\/([^/]+)\/tcp\/(\d+)(\/|$)/.exec(address)
  if (match === null) return address
  const [, kind, host, port] = match
  return kind === 'ip6' ? `[${host}]:${port}` : `${host}:${port}`
}

function componentsOf(text: string, argument: string, expected: string): Component[] {
  try {
    if (text === '' || text === '/') throw new Error('empty')
    return multiaddr(text).getComponents()
  } catch {
    throw new InvalidArgumentError(argument, text, problemOfSyntax(text) ?? expected)
  }
}
