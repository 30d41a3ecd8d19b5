/**
 * How an operator names the data directory that a peer gives up (docs/membership.md, Replacing): `founder`, or an
 * incarnation.
 *
 * The name binds the option to one directory. If it stays on the command line of a service, a later start does not give
 * up the directory that the peer has made instead.
 */
import { InvalidArgumentError } from '@quire/protocol'
import { memberId, peerIdOf } from '../state/member-id.js'

/** The data directory of a founding member, whose id names no incarnation. */
const FOUNDER = 'founder'

/** The option with which a peer gives up the data directory of this member. */
export function rejoinOption(member: string): string {
  return `--rejoin ${member.slice(peerIdOf(member).length + 1) || FOUNDER}`
}

/** Returns the id of the peer's member with this data directory. Throws InvalidArgumentError. */
export function memberToRejoin(peerId: string, directory: string): string {
  if (directory === FOUNDER) return memberId({ peerId, incarnation: '' })
  if (/^[0-9a-f]{32}$/.test(directory)) return memberId({ peerId, incarnation: directory })
  throw new InvalidArgumentError(
    'rejoins',
    directory,
    `${FOUNDER}, or an incarnation of 32 digits, as quire members list shows it`
  )
}
