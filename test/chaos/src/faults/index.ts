import { clockDrift, clockJump } from './clock.js'
import { fileCut } from './cut.js'
import { diskFull } from './disk.js'
import type { Fault, OwnFault } from './fault.js'
import { killClient, killLeader, killPeers } from './kill.js'
import { growOrShrink, handOver, lagBehind, loseDisk, replaceVoter, roll } from './members.js'
import { farLine, isolatePeer, leaderFromClients, oneWay, ring, thinLine } from './partition.js'
import { loseThePower } from './power.js'
import { bitsFlipped } from './rot.js'
import { stopClient, stopPeer } from './stop.js'

/** Faults of any cluster. To add a fault, add it here or below. */
export const FAULTS: readonly Fault[] = [killLeader, killPeers, killClient, stopPeer, stopClient, handOver]

/** Faults of a run's own cluster only. */
export const OWN_FAULTS: readonly OwnFault[] = [
  growOrShrink,
  replaceVoter,
  loseDisk,
  roll,
  lagBehind,
  isolatePeer,
  oneWay,
  leaderFromClients,
  ring,
  thinLine,
  farLine,
  diskFull,
  bitsFlipped,
  fileCut,
  loseThePower,
  clockJump,
  clockDrift
]
