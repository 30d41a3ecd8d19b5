/**
 * Member ids (docs/membership.md, Members). A founding member's is its PeerId. That of a member which joined later also
 * names the incarnation of its data directory, so that no id is used again after its log is lost.
 */
import type { ConfigMember } from './commands.js'

/** `incarnation` is empty for a founding member. */
export function memberId({ peerId, incarnation }: Pick<ConfigMember, 'peerId' | 'incarnation'>): string {
  return incarnation === '' ? peerId : `${peerId}/${incarnation}`
}

/** The PeerId in a member id. */
export function peerIdOf(member: string): string {
  const end = member.indexOf('/')
  return end < 0 ? member : member.slice(0, end)
}
