/** The nodes of the cluster, and their addresses. */

/** The peers that the cluster is founded with. */
export const PEER_IDS = [
  '12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5',
  '12D3KooWJWoaqZhDaoEFshF7Rh1bpY9ohihFhzcW6d69Lr2NASuq',
  '12D3KooWRndVhVZPCiQwHBBBdg769GyrPUW13zxwqQyf9r3ANaba'
] as const

/** The peers that may join later. */
export const SPARE_IDS = [
  '12D3KooWPqXJjKSeVZXBRa88bMGLeazFShQbXN6Wn4jbWhzZQTH4',
  '12D3KooWGsY2KuV7GhKbB7dUwTfoRExMA7xHDeM3PtaKKzrhDrgh',
  '12D3KooWEcvrPodiLdoB41sE42AZ7xztHEAVq8awNLBb7mSugg21'
] as const

export const CLIENT_IDS = [
  '12D3KooWPT98FXMfDQYavZm66EeVjTqP9Nnehn1gyaydqV8L8BQw',
  '12D3KooWHFd1gyNYFqxt7ke9FY2VoVVWY2XSPhvL9vg2pB6wQGfa',
  '12D3KooWK98A5qKRAA9qZccvoJLvcLu68PCFZLNfdd81iQLvHj6W',
  '12D3KooWRawPbxPtP1eZaJpumGnyWX2DcUyd3RQnydr3eAto4Az7'
] as const

/** The admin that the cluster is founded with, one that may become an admin, and one that never does. */
export const ADMIN_IDS = [
  '12D3KooWPY1k4JvzbE5LQgJb59VHeLhYQKnAMgaRsdwK8zz9Rwoj',
  '12D3KooWFe3eyhJ9USieUTBE8ejZ48YCNfrBojo6n5ZXatuQHjJs',
  '12D3KooWLLVHmRphGMVGLx2uQhrVAeeumeoXHYiVRTstys9kXRqQ'
] as const

const ALL_PEERS: readonly string[] = [...PEER_IDS, ...SPARE_IDS]

/** The address of a peer, or its next one after so many moves. */
export function addressOf(peerId: string, moves = 0): string {
  return `/ip4/192.0.2.${ALL_PEERS.indexOf(peerId) + 1}/tcp/${4001 + moves}/p2p/${peerId}`
}

/**
 * The id under which a cluster knows a data directory (docs/membership.md, Members); a founding one has no incarnation.
 * The product has the same function, which a mutant may change.
 */
export function memberIdOf(peerId: string, incarnation: string): string {
  return incarnation === '' ? peerId : `${peerId}/${incarnation}`
}

/** Returns the PeerId in a member id. */
export function peerIdIn(member: string): string {
  return member.split('/')[0]!
}

const names = new Map<string, string>([
  ...ALL_PEERS.map((id, i) => [id, `peer${i + 1}`] as const),
  ...CLIENT_IDS.map((id, i) => [id, `client${i + 1}`] as const),
  ...ADMIN_IDS.map((id, i) => [id, `admin${i + 1}`] as const)
])

/** Returns the name of a node in traces. */
export function nameOf(id: string): string {
  return names.get(id) ?? id
}

/** Replaces ids in a text by names. */
export function withNames(text: string): string {
  for (const [id, name] of names) text = text.replaceAll(id, name)
  return text
}
