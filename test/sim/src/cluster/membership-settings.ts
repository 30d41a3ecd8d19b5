/** The settings of the mix in which the members of the cluster change. */
import type { RandomSource } from '@quire/testing'
import { ALLOWED_BY_DENIALS } from './allowed-errors.js'
import { ADMIN_IDS } from './ids.js'
import type { Settings } from './settings-types.js'

/** Operations, and the faults that meet them. */
const MEMBERSHIP: Partial<Settings['faults']['weights']> = {
  addPeer: 2,
  promotePeer: 2,
  removePeer: 1.5,
  wipePeer: 1,
  replacePeer: 1,
  movePeers: 0.5,
  moveLeader: 0.5,
  changeRoundTrip: 0.3,
  removeBesideDown: 0.5,
  slowLearner: 1,
  nonsense: 0.5,
  oldFolder: 0.4,
  formerFolder: 1.5,
  twinFolder: 1,
  denyClient: 0.7,
  changeAdmins: 0.3,
  crashPeer: 0.7,
  crashLeader: 0.7,
  stopPeer: 0.5,
  transferLeader: 0.3,
  crashClient: 0.3,
  stallPeer: 0.5,
  stallLeader: 0.3,
  isolateLeader: 0.5,
  partition: 0.7,
  partitionOneWay: 0.3,
  breakStream: 1,
  breakConnection: 1,
  slowLink: 0.5,
  crashReceiver: 0.3,
  fillReceiver: 0.3
}

/**
 * Peers join, leave and take each other's places all the time. Clients do little: a seed lasts longer than others,
 * because a peer that waits for its invitation asks every two seconds.
 */
export function withMembership(drawn: Settings, random: RandomSource): Settings {
  const { peer, client, faults } = drawn
  const none = Object.fromEntries(Object.keys(faults.weights).map((kind) => [kind, 0])) as typeof faults.weights
  return {
    ...drawn,
    mixes: [...drawn.mixes, 'membership'],
    isAdministered: true,
    clients: 2,
    faultyMs: random.between(12_000, 20_000),
    peer: { ...peer, admins: [ADMIN_IDS[0]] },
    client: { ...client, programs: 1, pauseMs: 30, allowedErrors: ALLOWED_BY_DENIALS },
    faults: { ...faults, everyMs: 250, areClientsOnly: false, weights: { ...none, ...MEMBERSHIP } }
  }
}
