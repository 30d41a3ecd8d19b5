/** Describes what is wrong with an address, for the person who has written it. */
import { CODE_P2P, multiaddr, type Component } from '@multiformats/multiaddr'
import { ip4In } from './ip4-in.js'

const HOSTS: readonly string[] = ['ip4', 'ip6', 'dns', 'dns4', 'dns6']
const FORM = 'it must be /ip4, /ip6, /dns, /dns4 or /dns6 with a host, then /tcp with a port'

/** Why this version cannot dial an address. `parts` are the components before /p2p. Undefined if it can. */
export function problemOfDialing(parts: readonly Component[]): string | undefined {
  if (parts.some(({ name }) => name === 'p2p-circuit'))
    return `it leads through a relay, which a client finds by itself; ${FORM}`
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
  return isName ? undefined : `${JSON.stringify(host)} is not a host name`
}

function problemOfIp4(host: string): string | undefined {
  const [first = 0] = host.split('.').map(Number)
  if (host === '0.0.0.0') return '0.0.0.0 stands for all addresses of a machine; name the one where others reach it'
  if (first === 0) return `${host} is not the address of a machine`
  if (first >= 224 && first <= 239) return `${host} is a multicast address`
  return host === '255.255.255.255' ? `${host} is the broadcast address` : undefined
}

function problemOfIp6(host: string): string | undefined {
  if (host === '::') return ':: stands for all addresses of a machine; name the one where others reach it'
  if (/^ff/i.test(host)) return `${host} is a multicast address`
  // libp2p's TCP transport drops the zone, and a link-local address leads nowhere without one.
  if (/^fe[89ab]/i.test(host)) return `${host} is a link-local address, which needs a zone`
  const mapped = ip4In(host)
  return mapped === undefined ? undefined : problemOfIp4(mapped)
}

/** Names the usual mistake in a text that is not a multiaddr. Undefined for other mistakes. */
export function problemOfSyntax(text: string): string | undefined {
  const [, kind, host = ''] = /^\/(ip4|ip6)\/([^/]*)/.exec(text) ?? []
  if (kind !== undefined && !isMultiaddr(`/${kind}/${host}`))
    return `a multiaddr: ${JSON.stringify(host)} is not an IPv${kind === 'ip4' ? 4 : 6} address`
  const [isTcp, port = ''] = /\/tcp(?:\/([^/]*)|$)/.exec(text) ?? []
  if (isTcp === undefined || (/^\d+$/.test(port) && String(Number(port)) === port && Number(port) <= 65_535))
    return undefined
  return `a multiaddr: ${JSON.stringify(port)} is not a port; a port is a whole number up to 65535`
}

function isMultiaddr(text: string): boolean {
  try {
    multiaddr(text)
    return true
  } catch {
    return false
  }
}
