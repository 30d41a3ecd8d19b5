import type { RandomSource } from '@quire/testing'
import { peerIdIn } from './ids.js'
import type { SimPeer } from './peers.js'
import { idOf, type Seen } from './settlement.js'

interface OperatorViewInit {
  readonly peers: readonly SimPeer[]
  readonly leader: () => SimPeer | undefined
}

/** What an operator sees of the cluster, and which peers its operations use. */
export class OperatorView {
  /** Peers that an operation under way uses. */
  readonly taken = new Set<SimPeer>()

  constructor(private readonly init: OperatorViewInit) {}

  /** The cluster as the leader knows it; undefined without a leader. */
  see(): Seen | undefined {
    const { node, replica } = this.init.leader()?.core?.root ?? {}
    const config = replica?.applier.state.config
    if (node === undefined || config === undefined) return undefined
    const { voters, learners, outgoing } = node.status()
    return { voters, learners, outgoing, config }
  }

  hasCaughtUp(member: string): boolean {
    return this.init.leader()?.core?.root.node?.followers().get(member)?.hasCaughtUp === true
  }

  /** The peer whose PeerId the member id names. */
  peerOf(member: string): SimPeer | undefined {
    return this.init.peers.find(({ id }) => id === peerIdIn(member))
  }

  isTaken(member: string): boolean {
    const peer = this.peerOf(member)
    return peer !== undefined && this.taken.has(peer)
  }

  /** Whether the leader's configuration has the member. */
  isMember(member: string): boolean {
    return hasMember(this.see(), member)
  }

  /** Whether the peer runs as a member, and no operation uses it. */
  runsAsMember(peer: SimPeer | undefined, seen: Seen | undefined): boolean {
    if (peer?.core === undefined || peer.isOnOldFolder || this.taken.has(peer)) return false
    return hasMember(seen, peer.member)
  }

  /** Takes a peer that is not in use. */
  takeSpare(random: RandomSource): SimPeer | undefined {
    const seen = this.see()
    if (seen === undefined) return undefined
    const { members, invited } = seen.config
    const isKnown = (peer: SimPeer): boolean => [...members, ...invited].some(({ peerId }) => peerId === peer.id)
    const spares = this.init.peers.filter((peer) => !peer.isInstalled && !this.taken.has(peer) && !isKnown(peer))
    if (spares.length === 0) return undefined
    const peer = random.pick(spares)
    this.taken.add(peer)
    return peer
  }

  describe(): string {
    const { peers } = this.init
    const seen = this.see()
    if (seen === undefined) {
      const states = peers.map(({ name, isInstalled, member, process, core }) => {
        const { role, term, voters } = core?.root.node?.status() ?? {}
        return `${name} ${isInstalled} ${member} ${process?.isAwake} ${role} ${term} of ${voters?.join(' ')}`
      })
      return ['no leader', ...states].join('; ')
    }
    const { voters, learners, outgoing, config } = seen
    const installed = peers.filter(({ isInstalled }) => isInstalled)
    return [
      `voters ${voters.join(' ')}`,
      `learners ${learners.join(' ')}`,
      `outgoing ${outgoing.join(' ')}`,
      `invited ${config.invited.map(({ peerId, replaces }) => `${peerId} for ${replaces}`).join(' ')}`,
      `installed ${installed.map(({ name, member, core }) => `${name} ${core === undefined ? 'asks' : member}`).join(', ')}`
    ].join('; ')
  }
}

function hasMember(seen: Seen | undefined, member: string | undefined): boolean {
  return seen?.config.members.some((each) => idOf(each) === member) === true
}
