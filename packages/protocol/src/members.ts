/** The members of a cluster, and the changes that an admin can make to it. */
import { encode, list, struct, text, uint, union, type TypeOf } from './codec.js'
import { MAX_ADDRESSES, MAX_ADDRESS_BYTES, MAX_MEMBERS, MAX_PEER_ID_BYTES } from './limits.js'

/** A multiaddr of a peer. */
export const memberAddress = text(MAX_ADDRESS_BYTES)
export const member = struct({
  peerId: text(MAX_PEER_ID_BYTES),
  addresses: list(memberAddress, MAX_ADDRESSES)
})
/** A peer of the cluster with the addresses that it listens on. */
export type Member = TypeOf<typeof member>
export const members = list(member, MAX_MEMBERS)

/** Selects addresses, in their order, that an encoded {@link Member} holds in `maxBytes` beside its id. */
export function fitAddresses(addresses: readonly string[], maxBytes: number): string[] {
  let left = maxBytes
  return addresses.filter((address) => {
    const bytes = encode(memberAddress, address).length
    if (bytes > left) return false
    left -= bytes
    return true
  })
}

/** A PeerId, or a member id (docs/membership.md), which also names a data directory. */
const id = text(MAX_PEER_ID_BYTES)

/** A change of the cluster. Each says what should be, so that it may be repeated. */
export const adminChange = union({
  /** Invites a peer, which becomes a learner when it asks. */
  addMember: [1, struct({ member })],
  /** Makes a learner a voter. */
  promoteMember: [2, struct({ id })],
  /** Removes a member, or withdraws an invitation. */
  removeMember: [3, struct({ id })],
  /** Invites a peer that takes the place of the member `id` when it has caught up. */
  replaceMember: [4, struct({ id, by: member })],
  /** Moves leadership to the voter `id`, or to the best one if that is empty. */
  transferLeadership: [5, struct({ id })],
  /** `id` is a PeerId, or `any` for all clients that are not denied. */
  allowClient: [6, struct({ id })],
  /** `id` is a PeerId, or `any` for all clients that are not allowed by their PeerId. */
  denyClient: [7, struct({ id })],
  addAdmin: [8, struct({ id })],
  removeAdmin: [9, struct({ id })],
  setRoundTrip: [10, struct({ roundTripMs: uint })]
})
export type AdminChange = TypeOf<typeof adminChange>
