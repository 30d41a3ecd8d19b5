/** Ports that were chosen once are bound again, because the address book in the log names them. */
import { ListenError } from '@quire/net'
import { createServer, type Server } from 'node:net'

interface ListenParts {
  readonly family: string
  readonly host: string
  readonly port: string
}

/**
 * For each address that was asked for, the address to ask for the next time: itself, with the port that was bound where
 * it asked for any. `bound` are the multiaddrs of the running node, where a wildcard host stands as the machine's own
 * addresses.
 */
export function boundAddresses(wanted: readonly string[], bound: readonly string[]): string[] {
  const taken = bound.map(parseListen).filter((parts) => parts !== undefined)
  const used = new Set<string>()
  return wanted.map((address) => {
    const parts = parseListen(address)
    if (parts === undefined || parts.port !== '0') return address
    const isWildcard = parts.host === '0.0.0.0' || parts.host === '::'
    const match = taken.find(
      ({ family, host, port }) =>
        family === parts.family && (isWildcard || host === parts.host) && !used.has(`${family} ${port}`)
    )
    if (match === undefined) return address
    used.add(`${match.family} ${match.port}`)
    return `/${parts.family}/${parts.host}/tcp/${match.port}`
  })
}

/**
 * Of the addresses that are bound, those to tell others. Loopback is of use to nobody else, unless the peer listens
 * nowhere but there.
 */
export function currentAddresses(bound: readonly string[]): string[] {
  const elsewhere = bound.filter((address) => !/^\/ip4\/127\.|^\/ip6\/::1\//.test(address))
  return elsewhere.length > 0 ? elsewhere : [...bound]
}

function parseListen(address: string): ListenParts | undefined {
  const match = /^\/(ip4|ip6|dns|dns4|dns6)\/([^/]+)\/tcp\/(\d+)(\/|$)/.exec(address)
  return match === null ? undefined : { family: match[1]!, host: match[2]!, port: match[3]! }
}

/**
 * Rejects with ListenError when an address cannot be bound now: its port is taken, or it is not this machine's. Binds
 * all of them together and lets them go again.
 */
export async function checkListen(addresses: readonly string[]): Promise<void> {
  const servers: Server[] = []
  try {
    for (const address of addresses) {
      const parts = parseListen(address)
      if (parts !== undefined) servers.push(await bind(address, parts))
    }
  } finally {
    await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  }
}

function bind(address: string, { family, host, port }: ListenParts): Promise<Server> {
  return new Promise((resolve, reject) => {
    // Whoever connects to it meets a closed connection, as before the peer started.
    const server = createServer((socket) => socket.destroy())
    server.once('error', (error) => reject(new ListenError([address], error.message, { cause: error })))
    server.listen({ host, port: Number(port), ipv6Only: family === 'ip6' }, () => resolve(server))
  })
}
