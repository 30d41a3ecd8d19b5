/** The nodes of the cluster. Addresses name a peer for libp2p's parsers, and nobody dials them. */
export const PEER_IDS = [
  '12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5',
  '12D3KooWJWoaqZhDaoEFshF7Rh1bpY9ohihFhzcW6d69Lr2NASuq',
  '12D3KooWRndVhVZPCiQwHBBBdg769GyrPUW13zxwqQyf9r3ANaba'
] as const

export const CLIENT_IDS = [
  '12D3KooWPT98FXMfDQYavZm66EeVjTqP9Nnehn1gyaydqV8L8BQw',
  '12D3KooWHFd1gyNYFqxt7ke9FY2VoVVWY2XSPhvL9vg2pB6wQGfa',
  '12D3KooWK98A5qKRAA9qZccvoJLvcLu68PCFZLNfdd81iQLvHj6W',
  '12D3KooWRawPbxPtP1eZaJpumGnyWX2DcUyd3RQnydr3eAto4Az7'
] as const

export function addressOf(peerId: string): string {
  const number = PEER_IDS.indexOf(peerId as (typeof PEER_IDS)[number]) + 1
  return `/ip4/192.0.2.${number}/tcp/4001/p2p/${peerId}`
}

const names = new Map<string, string>([
  ...PEER_IDS.map((id, i) => [id, `peer${i + 1}`] as const),
  ...CLIENT_IDS.map((id, i) => [id, `client${i + 1}`] as const)
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
