import { multiaddr } from '@multiformats/multiaddr'
import { InvalidArgumentError } from '@quire/protocol'
import { ip4In } from './ip4-in.js'
import type { PeerAddress } from './multiaddr.js'

/**
 * Throws InvalidArgumentError if two peers have the same address, even in different spellings: only one peer can listen
 * there. Two names of one machine that only a resolver could recognize pass as two places.
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

/** The IPv4 address that the host of a /dns address spells, which resolves to itself. Undefined for a name. */
function numericHost(host: string): string | undefined {
  const ascii = asciiDomain(host.replace(/\.$/, ''))
  return /^\d+(\.\d+){3}$/.test(ascii) ? ascii : undefined
}

/** A host name in the form of the URL standard: Punycode, lower case. Empty if it is not a host name. */
function asciiDomain(name: string): string {
  try {
    return new URL(`ws://${name}`).hostname
  } catch {
    return ''
  }
}
