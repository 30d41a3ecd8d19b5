/** Addresses behind relays: that of the relay, /p2p-circuit, and /p2p/ with the PeerId of the remote. */
import { CODE_P2P, CODE_P2P_CIRCUIT, multiaddr, type Multiaddr } from '@multiformats/multiaddr'

/** The address of `remote` behind the relay at `relay`. */
export function relayedAddress(relay: Multiaddr, remote: string): Multiaddr {
  return multiaddr(`${relay.toString()}/p2p-circuit/p2p/${remote}`)
}

/** The PeerId of the relay in the remote address of a connection; undefined if the connection is direct. */
export function relayIn(remoteAddress: Multiaddr): string | undefined {
  const parts = remoteAddress.getComponents()
  const circuit = parts.findIndex(({ code }) => code === CODE_P2P_CIRCUIT)
  return circuit < 0 ? undefined : parts.slice(0, circuit).findLast(({ code }) => code === CODE_P2P)?.value
}
