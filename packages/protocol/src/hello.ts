/** Fields that the hellos of peers and clients share, and the check that both sides make of them. */
import { struct, text, uint, type TypeOf } from './codec.js'
import { VersionMismatchError } from './errors.js'
import { FEATURES, MAX_DIGEST_BYTES, PROTOCOL_VERSION } from './limits.js'

/** The lowest and highest feature level that a node supports. */
export const features = struct({ lowest: uint, highest: uint })
export type Features = TypeOf<typeof features>

/** Lower-case hex. Empty where it is not known. */
export const digestText = text(MAX_DIGEST_BYTES)

/** Why a remote of this version and these feature levels cannot be spoken to; undefined when it can. */
export function refuseVersion(version: number, remote: Features): VersionMismatchError | undefined {
  if (version !== PROTOCOL_VERSION) return new VersionMismatchError('protocol', version, PROTOCOL_VERSION)
  if (remote.highest < FEATURES.lowest)
    return new VersionMismatchError('feature level', remote.highest, FEATURES.lowest)
  if (remote.lowest > FEATURES.highest)
    return new VersionMismatchError('feature level', remote.lowest, FEATURES.highest)
  return undefined
}
