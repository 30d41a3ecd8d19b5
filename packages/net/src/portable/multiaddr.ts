import './polyfill.js'
import { peerIdFromString } from '@libp2p/peer-id'
import { CODE_P2P, multiaddr, type Component } from '@multiformats/multiaddr'
import { InvalidArgumentError } from '@quire/protocol'

/** Where a node listens and who it is. `address` is the whole multiaddr, its /p2p/ part included. */
export interface PeerAddress {
  readonly peerId: string
  readonly address: string
}

const EXPECTED = 'a multiaddr that ends in /p2p/<PeerId>, such as /ip4/192.0.2.1/tcp/4001/p2p/12D3Koo…'

/**
 * Parses a multiaddr of a peer that this version can dial: a host, a TCP port, and /p2p/ID at the end. Anything else:
 * {@link InvalidArgumentError} that names `argument`, the address and its fault. Nothing is resolved or dialed.
 */
export function parsePeerAddress(text: string, argument = 'address'): PeerAddress {
  const id = /\/p2p\/([^/]*)$/.exec(text)?.[1]
  if (id !== undefined && !isPeerId(id)) {
    const problem = `${JSON.stringify(id)} is no PeerId (quire id FILE prints that of a key)`
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
 * Parses a list, or a text with addresses between commas and white space, as QUIRE_PEERS is. One address that is wrong
 * refuses all.
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
 * Throws InvalidArgumentError for an address of one peer that is another one's, too, however both are written: behind an
 * address is one peer. Names that only a resolver could tell to be one machine are taken for two.
 */
export function refuseSharedPlaces(addresses: readonly PeerAddress[], argument = 'addresses'): void {
  const owners = new Map<string, string>()
  for (const { peerId, address } of addresses) {
    for (const place of placesOf(address)) {
      const owner = owners.get(place)
      if (owner !== undefined && owner !== peerId)
        throw new InvalidArgumentError(argument, address, `an address of its own: ${owner} has the same`)
      owners.set(place, peerId)
    }
  }
}

/** The hosts and ports that an address may lead to, each in one spelling. */
function placesOf(address: string): string[] {
  const [host, transport] = multiaddr(address).getComponents()
  const [name = '', value = '', port = ''] = [host?.name, host?.value, transport?.value]
  const ip = name === 'ip6' ? (ip4In(value) ?? value) : name === 'ip4' ? value : numericHost(value)
  if (ip !== undefined) return [`${ip} ${port}`]
  const labels = value.replace(/\.$/, '')
  const domain = asciiDomain(labels) || labels.toLowerCase()
  const families = name === 'dns' ? ['dns4', 'dns6'] : [name]
  return families.map((family) => `${family} ${domain} ${port}`)
}

/** A host of a /dns address that is a number: it resolves to itself. */
function numericHost(host: string): string | undefined {
  const ascii = asciiDomain(host.replace(/\.$/, ''))
  return /^\d+(\.\d+){3}$/.test(ascii) ? ascii : undefined
}

/** A host name as the URL standard writes it, with Punycode and in lower case; empty if it is none. */
function asciiDomain(name: string): string {
  try {
    return new URL(`ws://${name}`).hostname
  } catch {
    return ''
  }
}

/**
 * Whether this version can dial `address`, with or without /p2p at its end, to reach this peer. What other peers say of
 * addresses is a hint, so one that is of no use here is passed over.
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

/** The same id may be written in several ways. */
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

/** Checks a PeerId and returns its usual text (base58btc). */
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

/** Of a multiaddr, as people write it: 192.0.2.1:4001 or [2001:db8::1]:4001. Text that is none stays as it is. */
export function hostAndPort(address: string): string {
  const match = /^\/(ip4|ip6|dns|dns4|dns6)\/([^/]+)\/tcp\/(\d+)(\/|$)/.exec(address)
  if (match === null) return address
  const [, kind, host, port] = match
  return kind === 'ip6' ? `[${host}]:${port}` : `${host}:${port}`
}

const HOSTS: readonly string[] = ['ip4', 'ip6', 'dns', 'dns4', 'dns6']
const FORM = 'it must be /ip4, /ip6, /dns, /dns4 or /dns6 with a host, then /tcp with a port'

/** Why nobody can dial an address of these parts, which are those before /p2p; undefined when they can. */
function problemOfDialing(parts: readonly Component[]): string | undefined {
  if (parts.some(({ name }) => name === 'p2p-circuit'))
    return `it leads through a relay, which this version cannot use; ${FORM}`
  if (parts.some(({ code }) => code === CODE_P2P)) return 'it has /p2p more than once; is it two addresses in one?'
  const unsupported = parts.find(({ name }) => name !== 'tcp' && !HOSTS.includes(name))
  if (unsupported !== undefined) return `this version has no transport for /${unsupported.name}; ${FORM}`
  const [host, transport] = parts
  if (host === undefined || transport === undefined || parts.length !== 2) return `${FORM}, and nothing else`
  if (!HOSTS.includes(host.name) || transport.name !== 'tcp') return FORM
  if (Number(transport.value) === 0) return 'port 0 stands for any free port, which only a listener can ask for'
  return problemOfHost(host.name, host.value ?? '')
}

function problemOfHost(name: string, host: string): string | undefined {
  if (name === 'ip6') return problemOfIp6(host)
  if (name === 'ip4' || /^\d+(\.\d+){3}$/.test(host)) return problemOfIp4(host)
  const isName = host.length <= 253 && /^[\p{L}\p{N}_-]+(\.[\p{L}\p{N}_-]+)*\.?$/u.test(host)
  return isName ? undefined : `${JSON.stringify(host)} is no host name`
}

function problemOfIp4(host: string): string | undefined {
  const [first = 0] = host.split('.').map(Number)
  if (host === '0.0.0.0') return '0.0.0.0 stands for all addresses of a machine; name the one where others reach it'
  if (first === 0) return `${host} is no machine's address`
  if (first >= 224 && first <= 239) return `${host} is a multicast address`
  return host === '255.255.255.255' ? `${host} is the broadcast address` : undefined
}

function problemOfIp6(host: string): string | undefined {
  if (host === '::') return ':: stands for all addresses of a machine; name the one where others reach it'
  if (/^ff/i.test(host)) return `${host} is a multicast address`
  // libp2p's TCP transport drops the zone without which such an address leads nowhere.
  if (/^fe[89ab]/i.test(host)) return `${host} is a link-local address, which needs a zone`
  const mapped = ip4In(host)
  return mapped === undefined ? undefined : problemOfIp4(mapped)
}

/** The IPv4 address in an IPv6 address that stands for one. */
function ip4In(host: string): string | undefined {
  const mapped = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/i.exec(host)
  if (mapped === null) return undefined
  const [high, low] = [parseInt(mapped[1]!, 16), parseInt(mapped[2]!, 16)]
  return [high >> 8, high & 255, low >> 8, low & 255].join('.')
}

function componentsOf(text: string, argument: string, expected: string) {
  try {
    if (text === '' || text === '/') throw new Error('empty')
    return multiaddr(text).getComponents()
  } catch {
    throw new InvalidArgumentError(argument, text, problemOfParts(text) ?? expected)
  }
}

function isMultiaddr(text: string): boolean {
  try {
    multiaddr(text)
    return true
  } catch {
    return false
  }
}

/** The usual slips in a text that is no multiaddr. */
function problemOfParts(text: string): string | undefined {
  const [, kind, host = ''] = /^\/(ip4|ip6)\/([^/]*)/.exec(text) ?? []
  if (kind !== undefined && !isMultiaddr(`/${kind}/${host}`))
    return `a multiaddr: ${JSON.stringify(host)} is no IPv${kind === 'ip4' ? 4 : 6} address`
  const [isTcp, port = ''] = /\/tcp(?:\/([^/]*)|$)/.exec(text) ?? []
  if (isTcp === undefined || (/^\d+$/.test(port) && String(Number(port)) === port && Number(port) <= 65_535))
    return undefined
  return `a multiaddr: ${JSON.stringify(port)} is no port, which is a whole number up to 65535`
}
