import { clockDrift, clockJump } from './clock.js'
import { diskFull } from './disk.js'
import type { Fault } from './fault.js'
import { killLeader, killPeers } from './kill.js'
import { growOrShrink, lagBehind, loseDisk, replaceVoter, roll } from './members.js'
import { isolatePeer, leaderFromClients, oneWay, ring, thinLine } from './partition.js'
import { loseThePower } from './power.js'
import { stopClient, stopPeer } from './stop.js'

/** To add a fault, add it here. */
export const FAULTS: readonly Fault[] = [
  killLeader,
  killPeers,
  stopPeer,
  stopClient,
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
  diskFull,
  loseThePower,
  clockJump,
  clockDrift
]
