/** PeerIds for people: 52 letters, of which the last eight tell the peers of a cluster apart. */

const SHORT_LETTERS = 8
/** PeerIds as text, of Ed25519 and secp256k1 keys and of hashed ones, wherever they stand in a line. */
const PEER_ID = /\b(?:12D3KooW[1-9A-HJ-NP-Za-km-z]{44}|16Uiu2HA[1-9A-HJ-NP-Za-km-z]{45}|Qm[1-9A-HJ-NP-Za-km-z]{44})\b/g

export function shortId(id: string, letters = SHORT_LETTERS): string {
  return id.length <= letters ? id : `…${id.slice(-letters)}`
}

/** The text with every PeerId in it shortened. */
export function shortenIds(text: string): string {
  return text.replaceAll(PEER_ID, (id) => shortId(id))
}
