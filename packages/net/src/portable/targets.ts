import { InvalidArgumentError } from '@quire/protocol'
import { isAddressOf, parsePeerAddress } from './multiaddr.js'

/** The addresses of one dial: each whole multiaddr, mapped to the text that the caller gave for it. */
export type Targets = ReadonlyMap<string, string>

/**
 * Selects the addresses that belong to the peer and that this version can dial; a peer may also have addresses for
 * other versions. Throws InvalidArgumentError if there are addresses but none of them qualifies.
 */
export function targetsOf(addresses: readonly string[], peerId: string): Targets {
  const targets = new Map<string, string>()
  const usable = addresses.filter((address) => isAddressOf(peerId, address))
  for (const address of usable.length > 0 ? usable : addresses) {
    const full = address.includes('/p2p/') ? address : `${address}/p2p/${peerId}`
    const target = parsePeerAddress(full, 'addresses')
    if (target.peerId !== peerId) throw new InvalidArgumentError('addresses', address, `an address of ${peerId}`)
    if (!targets.has(target.address)) targets.set(target.address, address)
  }
  return targets
}
