import './polyfill.js'
import { peerIdFromString } from '@libp2p/peer-id'
import { CODE_P2P, multiaddr } from '@multiformats/multiaddr'
import { InvalidArgumentError } from '@quire/protocol'

/** Where a node listens and who it is. `address` is the whole multiaddr, its /p2p/ part included. */
export interface PeerAddress {
  readonly peerId: string
  readonly address: string
}

const EXPECTED = 'a multiaddr that ends in /p2p/<PeerId>, such as /ip4/192.0.2.1/tcp/4001/p2p/12D3Koo…'

/** Parses a multiaddr that ends in /p2p/ID. Anything else: {@link InvalidArgumentError} naming `argument` and the value. */
export function parsePeerAddress(text: string, argument = 'address'): PeerAddress {
  const parts = componentsOf(text, argument, EXPECTED)
  const last = parts.at(-1)
  if (parts.length < 2 || last?.code !== CODE_P2P || last.value === undefined) {
    throw new InvalidArgumentError(argument, text, EXPECTED)
  }
  try {
    return { peerId: peerIdFromString(last.value).toString(), address: multiaddr(text).toString() }
  } catch {
    throw new InvalidArgumentError(argument, text, EXPECTED)
  }
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

/** Checks a PeerId and returns its usual text (base58btc). */
export function parsePeerId(text: string, argument = 'peerId'): string {
  try {
    return peerIdFromString(text).toString()
  } catch {
    throw new InvalidArgumentError(argument, text, 'a PeerId such as 12D3Koo…')
  }
}

function componentsOf(text: string, argument: string, expected: string) {
  try {
    if (text === '' || text === '/') throw new Error('empty')
    return multiaddr(text).getComponents()
  } catch {
    throw new InvalidArgumentError(argument, text, expected)
  }
}
