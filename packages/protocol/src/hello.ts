/** The fields that the hellos of peers and of clients share, and their check. */
import { struct, text, uint, type TypeOf } from './codec.js'
import { VersionMismatchError } from './errors.js'
import { FEATURES, MAX_DIGEST_BYTES, PROTOCOL_VERSION } from './limits.js'

/** The lowest and highest feature level that a node supports. */
export const features = struct({ lowest: uint, highest: uint })
export type Features = TypeOf<typeof features>

/** Lower-case hex. Empty while unknown. */
export const digestText = text(MAX_DIGEST_BYTES)

/** Returns the reason why this program cannot talk to a remote, or undefined if it can. */
export function refuseVersion(version: number, remote: Features): VersionMismatchError | undefined {
  if (version !== PROTOCOL_VERSION) return new VersionMismatchError('protocol', version, PROTOCOL_VERSION)
  if (remote.highest < FEATURES.lowest)
    return new VersionMismatchError('feature level', remote.highest, FEATURES.lowest)
  if (remote.lowest > FEATURES.highest)
    return new VersionMismatchError('feature level', remote.lowest, FEATURES.highest)
  return undefined
}
