/** Short PeerIds for people. A PeerId has 52 letters, and its last eight distinguish the peers of a cluster. */

const SHORT_LETTERS = 8
/** A PeerId anywhere in a text: of an Ed25519 key, of a secp256k1 key, or the hash of another key. */
const PEER_ID = /\b(?:12D3KooW[1-9A-HJ-NP-Za-km-z]{44}|16Uiu2HA[1-9A-HJ-NP-Za-km-z]{45}|Qm[1-9A-HJ-NP-Za-km-z]{44})\b/g

export function shortId(id: string, letters = SHORT_LETTERS): string {
  return id.length <= letters ? id : `…${id.slice(-letters)}`
}

/** Shortens every PeerId in a text. */
export function shortenIds(text: string): string {
  return text.replaceAll(PEER_ID, (id) => shortId(id))
}
