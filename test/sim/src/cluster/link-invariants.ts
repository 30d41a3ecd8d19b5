import { PROTOCOL_RAFT, decode, decodeFrame, raftMessage } from '@quire/protocol'
import { clusterConfig } from '@quire/store/internal'
import type { Coverage } from '../coverage.js'
import type { SimProcess } from '../process.js'
import { Violation } from '../violation.js'
import { nameOf, peerIdIn } from './ids.js'
import type { SimPeer } from './peers.js'

interface LinkInvariantsInit {
  readonly peers: readonly SimPeer[]
  readonly coverage: Coverage
}

const REFUSED_TAG = 2
const INVITED_TAG = 8
const CONFIGURATION_TAG = 9

/** Checks what peers send to each other against the members that they know (docs/membership.md). */
export class LinkInvariants {
  constructor(private readonly init: LinkInvariantsInit) {}

  /** A peer that is no member hears only whether it may join, and why it is refused. */
  sent(from: string, to: string, protocol: string, frame: Uint8Array, process: SimProcess): void {
    if (protocol !== PROTOCOL_RAFT) return
    const sender = this.init.peers.find((peer) => peer.process === process)
    const members = sender?.core?.linkedMembers
    if (members === undefined || [...members].some((member) => peerIdIn(member) === to)) return
    // The tag follows the group and the trace, which take a byte each.
    const tag = frame[2]
    if (tag === REFUSED_TAG || tag === INVITED_TAG) return
    const { message } = decodeFrame(raftMessage, frame)
    throw new Violation('only members are told anything', `${nameOf(from)} sends ${nameOf(to)} ${message.type}`)
  }

  /** Counts the configurations that a peer learns of before it has applied them. */
  delivered(to: string, protocol: string, frame: Uint8Array): void {
    if (protocol !== PROTOCOL_RAFT || frame[2] !== CONFIGURATION_TAG) return
    const { message } = decodeFrame(raftMessage, frame)
    const known = this.init.peers.find(({ id }) => id === to)?.core?.config.revision
    if (message.type !== 'raftConfiguration' || known === undefined) return
    if (decode(clusterConfig, message.config).revision > known) {
      this.init.coverage.add('configurations heard through a link')
    }
  }
}
