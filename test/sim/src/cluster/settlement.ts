import { decode, type AdminChange, type Member } from '@quire/protocol'
import type { RaftStatus } from '@quire/raft'
import { clusterConfig, type ReplicatedConfig } from '@quire/store/internal'
import type { AccessOperator } from './access-operator.js'
import { memberIdOf, peerIdIn } from './ids.js'
import type { LostFolders } from './lost-folders.js'
import type { SimPeer } from './peers.js'
import type { PeerRaftInvariants } from './raft-invariants.js'

interface SettlementInit {
  readonly peers: readonly SimPeer[]
  readonly raft: PeerRaftInvariants
  readonly folders: LostFolders
  readonly access: AccessOperator
}

/** The cluster as its leader sees it. */
export interface Seen extends Pick<RaftStatus, 'voters' | 'learners' | 'outgoing'> {
  readonly config: ReplicatedConfig
}

export const MAX_VOTERS = 5

/**
 * Brings the operations of a seed to their end, from the state of the cluster alone: all members run and vote, nobody
 * else runs, and no client is denied.
 */
export class Settlement {
  constructor(private readonly init: SettlementInit) {}

  /** The leader is none of the past, and no change is under way. */
  private isCurrent({ voters, learners, outgoing, config }: Seen): boolean {
    const committed = this.init.raft.configurations.at(-1)!.configuration
    const areSame = [voters, learners].map(String).join() === [committed.voters, committed.learners].map(String).join()
    return areSame && outgoing.length === 0 && decode(clusterConfig, committed.context).revision === config.revision
  }

  /** The next command, or `wait`; undefined if there is nothing left to do. */
  nextStep(seen: Seen): AdminChange | 'wait' | undefined {
    if (!this.isCurrent(seen)) return 'wait'
    return this.init.access.nextStep(seen.config.denied) ?? this.nextOfMembers(seen)
  }

  private nextOfMembers({ config, voters, learners }: Seen): AdminChange | 'wait' | undefined {
    const { peers, folders } = this.init
    const { invited, members } = config
    for (const peer of peers) {
      const isKnown = peer.hasLog
        ? members.some((member) => idOf(member) === peer.member)
        : [...members, ...invited].some(({ peerId }) => peerId === peer.id)
      if (peer.isInstalled && !isKnown) folders.leave(peer.id, peer.uninstall(false))
    }
    for (const { peerId, replaces } of invited) {
      const peer = this.peerOf(peerId)!
      if (replaces !== '' && !peer.isInstalled) peer.install()
      if (!peer.isInstalled) return { type: 'removeMember', id: peerId }
    }
    for (const id of [...voters, ...learners]) {
      const peer = this.peerOf(id)!
      const isLearner = learners.includes(id)
      if (peer.member === id && peer.hasLog && peer.isInstalled) {
        if (!isLearner || isReplacing(config, id)) continue
        return { type: voters.length < MAX_VOTERS ? 'promoteMember' : 'removeMember', id }
      }
      const hasJoinedAnew = peer.member !== id && [...voters, ...learners].some((other) => other === peer.member)
      // An admin has added the peer again, and by that taken back that its new folder replaces this one.
      if (hasJoinedAnew && !invited.some(({ replaces }) => replaces === id)) return { type: 'removeMember', id }
      if (peer.rejoins === id) continue
      if (isLearner)
        return peer.isInstalled ? { type: 'addMember', member: memberOf(peer) } : { type: 'removeMember', id }
      if (invited.some(({ replaces }) => replaces === id)) continue
      if (peer.isInstalled) peer.uninstall(false)
      const spare = peers.find((each) => !each.isInstalled)!
      return { type: 'replaceMember', id, by: memberOf(spare) }
    }
    const areWhole = voters.every((id) => this.peerOf(id)?.member === id)
    return areWhole && learners.length === 0 && invited.length === 0 ? undefined : 'wait'
  }

  private peerOf(member: string): SimPeer | undefined {
    return this.init.peers.find(({ id }) => id === peerIdIn(member))
  }
}

export function idOf({ peerId, incarnation }: ReplicatedConfig['members'][number]): string {
  return memberIdOf(peerId, incarnation)
}

export function memberOf({ id, address }: SimPeer): Member {
  return { peerId: id, addresses: [address] }
}

/** The learner is to take the place of another member. */
export function isReplacing({ invited }: ReplicatedConfig, member: string): boolean {
  return invited.some(({ peerId, replaces }) => peerId === peerIdIn(member) && replaces !== member && replaces !== '')
}
