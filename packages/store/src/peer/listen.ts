/** Listen addresses. A port that was chosen once is bound again, because the configuration in the log names it. */
import { ListenError } from '@quire/net'
import { createServer, type Server } from 'node:net'

interface ListenParts {
  readonly family: string
  readonly host: string
  readonly port: string
}

/**
 * For each wanted address, returns the address to listen on at the next start: the same address, with the bound port in
 * place of port 0. `bound` are the multiaddrs of the running node, which has the machine's addresses in place of a
 * wildcard host.
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
 * Returns the bound addresses that others should know. Loopback addresses are of no use to other machines, so they are
 * left out unless there are no others.
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
 * Checks that all addresses can be bound together now, and releases them again. Rejects with ListenError if a port is
 * taken or an address is not of this machine.
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
    // A remote that connects meanwhile finds a closed connection, as before the peer started.
    const server = createServer((socket) => socket.destroy())
    server.once('error', (error) => reject(new ListenError([address], error.message, { cause: error })))
    server.listen({ host, port: Number(port), ipv6Only: family === 'ip6' }, () => resolve(server))
  })
}
