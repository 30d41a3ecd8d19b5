import { decode, type AdminChange, type RaftConfiguration } from '@quire/protocol'
import { clusterConfig, type ReplicatedConfig } from '@quire/store/internal'
import type { Coverage } from '../coverage.js'
import type { Scheduler } from '../scheduler.js'
import { Violation } from '../violation.js'
import { peerIdIn } from './ids.js'
import type { LostFolders } from './lost-folders.js'
import type { SimPeer } from './peers.js'
import type { PeerRaftInvariants } from './raft-invariants.js'
import { idOf } from './settlement.js'

interface MembershipInvariantsInit {
  readonly scheduler: Scheduler
  readonly coverage: Coverage
  readonly peers: readonly SimPeer[]
  readonly raft: PeerRaftInvariants
  readonly folders: LostFolders
}

/** A committed configuration: Raft's part, and that of the cluster. */
interface Committed {
  readonly raft: RaftConfiguration
  readonly cluster: ReplicatedConfig
}

/** A leader as last seen. */
interface Leading {
  readonly life: number
  readonly term: number
  readonly voters: readonly string[]
}

/**
 * Within so many round trips a leader notices that a peer is silent or behind: an election timeout is 10 of them, and
 * the leader looks once in a timeout.
 */
const NOTICE_ROUND_TRIPS = 30

/** Checks the rules of docs/membership.md from outside, after every event. */
export class MembershipInvariants {
  private readonly committed: Committed[] = []
  private readonly leading = new Map<SimPeer, Leading>()
  private readonly known = new Map<SimPeer, { readonly life: number; readonly revision: number }>()
  /** The members that were checked last. */
  private readonly linked = new Map<SimPeer, ReadonlySet<string>>()
  /** When each entry was first known to be committed. */
  private readonly committedAt: { readonly atMs: number; readonly index: number }[] = []

  constructor(private readonly init: MembershipInvariantsInit) {}

  check(): void {
    const { raft, scheduler } = this.init
    const { commitIndex } = raft
    if (commitIndex !== this.committedAt.at(-1)?.index)
      this.committedAt.push({ atMs: scheduler.now, index: commitIndex })
    for (const { configuration } of raft.configurations.slice(this.committed.length)) this.changed(configuration)
    for (const peer of this.init.peers) {
      this.checkLeader(peer)
      this.checkKnown(peer)
      this.checkLinked(peer)
    }
  }

  /** Besides the members of its own configuration, a peer links only with those of newer ones that are committed. */
  private checkLinked(peer: SimPeer): void {
    const { core } = peer
    if (core === undefined || this.linked.get(peer) === core.linkedMembers) return
    this.linked.set(peer, core.linkedMembers)
    const { config } = core
    const newer = this.committed.flatMap(({ cluster }) => (cluster.revision > config.revision ? [cluster] : []))
    const members = new Set([config, ...newer].flatMap((each) => each.members.map((member) => idOf(member))))
    const others = [...core.linkedMembers].filter((member) => !members.has(member))
    if (others.length > 0) throw new Violation('only members have links', `${peer.name} links with ${others.join(' ')}`)
  }

  /** The configuration that a process follows never goes back. */
  private checkKnown(peer: SimPeer): void {
    const revision = peer.core?.config.revision
    if (revision === undefined) return
    const last = this.known.get(peer)
    if (last?.life === peer.life && revision < last.revision) {
      throw new Violation('a configuration never goes back', `${peer.name}: ${last.revision} -> ${revision}`)
    }
    this.known.set(peer, { life: peer.life, revision })
  }

  // ---- what is committed

  private changed(raft: RaftConfiguration): void {
    const next = { raft, cluster: decode(clusterConfig, raft.context) }
    const before = this.committed.at(-1)
    this.committed.push(next)
    this.checkMembers(next)
    if (before === undefined) return
    this.checkRevision(before, next)
    this.checkJoins(before, next)
    this.checkReplacement(before, next)
    this.count(before, next)
  }

  /**
   * The two parts of a configuration name the same members, no two voters have one key, and somebody is an admin. A
   * member that was replaced stays one, so that others link with it, while it counts in a joint configuration.
   */
  private checkMembers({ raft, cluster }: Committed): void {
    const { voters, learners, learnersNext, outgoing } = raft
    const members = cluster.members.map((member) => idOf(member))
    const nodes = [...voters, ...learners, ...learnersNext, ...outgoing]
    const replaced = cluster.invited.map(({ replaces }) => replaces)
    const facts = `members ${members.join(' ')}; nodes ${nodes.join(' ')}`
    const areMembers = nodes.every((id) => members.includes(id))
    if (!areMembers || !members.every((id) => nodes.includes(id) || replaced.includes(id))) {
      throw new Violation('members are the nodes of Raft', facts)
    }
    // An admin may promote a peer before it has taken the place of its own lost folder.
    const staying = voters.filter((id) => cluster.invited.every(({ replaces }) => replaces !== id))
    if (new Set(staying.map((id) => peerIdIn(id))).size < staying.length) {
      throw new Violation('no two voters have one key', facts)
    }
    if (cluster.admins.length === 0) throw new Violation('there is always an admin', facts)
  }

  /** Each change raises the revision by one. The end of a joint configuration repeats the change. */
  private checkRevision(before: Committed, { cluster }: Committed): void {
    const isSame = before.raft.outgoing.length > 0
    const due = before.cluster.revision + (isSame ? 0 : 1)
    if (cluster.revision === due) return
    throw new Violation('each change raises the revision', `${before.cluster.revision} -> ${cluster.revision}`)
  }

  /** A peer joins as a learner, and only if it is invited or comes back to its own place. */
  private checkJoins(before: Committed, { raft, cluster }: Committed): void {
    const known = before.cluster.members.map((member) => idOf(member))
    for (const member of cluster.members) {
      const id = idOf(member)
      if (known.includes(id)) continue
      if (raft.voters.includes(id)) throw new Violation('a peer joins as a learner', id)
      const isInvited = before.cluster.invited.some(({ peerId }) => peerId === member.peerId)
      const isBack = known.some((each) => peerIdIn(each) === member.peerId && this.init.folders.has(each))
      if (!isInvited && !isBack) throw new Violation('only invited peers join', id)
    }
  }

  /** A replacement is one change, so the number of voters stays. */
  private checkReplacement(before: Committed, { raft, cluster }: Committed): void {
    const { what } = cluster.change
    if (!/ replaces /.test(what) || raft.voters.length >= before.raft.voters.length) return
    // An admin had promoted the new member already.
    const [by = ''] = what.split(' replaces ')
    if (before.raft.voters.includes(by)) return
    throw new Violation('a replacement keeps the number of voters', what)
  }

  private count({ raft: before }: Committed, { raft }: Committed): void {
    const { coverage } = this.init
    const added = raft.voters.filter((id) => !before.voters.includes(id))
    const removed = before.voters.filter((id) => !raft.voters.includes(id))
    if (raft.outgoing.length > 0) coverage.add('joint configurations')
    for (const id of raft.learners) if (!before.learners.includes(id)) coverage.add('peers joined')
    const [come] = added
    const [gone] = removed
    if (come !== undefined && gone !== undefined) {
      coverage.add(`replacements by ${peerIdIn(come) === peerIdIn(gone) ? 'the same key' : 'another key'}`)
    } else if (come !== undefined) coverage.add('learners promoted')
    else if (gone !== undefined) coverage.add('voters removed')
    else if (before.learners.some((id) => !raft.learners.includes(id))) coverage.add('learners removed')
  }

  // ---- what leaders propose

  private checkLeader(peer: SimPeer): void {
    const status = peer.core?.root.node?.status()
    if (status?.role !== 'leader') return void this.leading.delete(peer)
    const { term, voters, commitIndex } = status
    const last = this.leading.get(peer)
    this.checkOneAtATime(peer, commitIndex, term)
    const now = { life: peer.life, term, voters }
    this.leading.set(peer, now)
    if (last?.life !== now.life || last.term !== term || last.voters.join() === voters.join()) return
    // A leader that has slept judges by what it knew before.
    if (peer.process!.runsSince > this.noticedBeforeMs) return
    this.checkServed(peer, voters)
    for (const id of voters) if (!last.voters.includes(id)) this.checkCaughtUp(id)
  }

  /** What happened before this time, a leader knows. It may still tick as an earlier configuration says. */
  private get noticedBeforeMs(): number {
    const roundTripMs = Math.max(...this.committed.map(({ cluster }) => cluster.roundTripMs))
    return this.init.scheduler.now - NOTICE_ROUND_TRIPS * roundTripMs
  }

  private checkOneAtATime(peer: SimPeer, commitIndex: number, term: number): void {
    const { log } = peer.core!.root.replica
    const open = log.configurations.filter((entry) => entry.index > commitIndex && entry.term === term)
    if (open.length < 2) return
    throw new Violation('one change at a time', `${peer.name}: ${open.map(({ index }) => index).join(' and ')}`)
  }

  /** The voters that answer are a majority, so that the change can be committed. */
  private checkServed(peer: SimPeer, voters: readonly string[]): void {
    const answering = voters.filter((id) => this.hasRunLately(id))
    if (answering.length * 2 > voters.length) return
    const facts = `${peer.name} proposes ${voters.join(' ')}, of which only ${answering.join(' ')} have run lately`
    throw new Violation('a change is served by a majority', facts)
  }

  private hasRunLately(member: string): boolean {
    const peer = this.init.peers.find(({ id }) => id === peerIdIn(member))!
    if (peer.process !== undefined && peer.member === member) return true
    const ended = peer.endedAt.get(member) ?? 0
    return ended > this.noticedBeforeMs
  }

  /** A new voter has what was committed a while ago. */
  private checkCaughtUp(member: string): void {
    const since = this.noticedBeforeMs
    const must = this.committedAt.findLast(({ atMs }) => atMs <= since)?.index ?? 0
    const has = this.init.raft.lastIndexOf(member)
    if (has >= must) return
    throw new Violation('a voter has caught up', `${member} has ${has} entries of ${must}`)
  }

  // ---- answers to admins

  /** Stands for the configuration that is committed now. */
  mark(): number {
    return Math.max(0, this.committed.length - 1)
  }

  /**
   * A leader has answered that a change is made. Then it is committed, since it was asked for or before: no later
   * leader can lose it.
   */
  answered(change: AdminChange, index: number, since: number): void {
    if (change.type === 'transferLeadership') return
    this.init.raft.check()
    this.check()
    const { configurations } = this.init.raft
    const isMade =
      index > 0
        ? configurations.some((each) => each.index === index)
        : this.committed.slice(since).some((config) => isInForce(change, config))
    if (isMade) return
    throw new Violation('a change that is answered is committed', `${JSON.stringify(change)}, entry ${index}`)
  }
}

function isInForce(change: AdminChange, { raft, cluster }: Committed): boolean {
  const { members, invited, admins, clients, denied, roundTripMs } = cluster
  const isMember = (named: string): boolean => members.some((member) => isNamed(idOf(member), named))
  switch (change.type) {
    case 'addMember':
      return [...members, ...invited].some(({ peerId }) => peerId === change.member.peerId)
    case 'promoteMember':
      return raft.voters.some((id) => isNamed(id, change.id))
    case 'removeMember':
      return !isMember(change.id) && invited.every(({ peerId }) => peerId !== change.id)
    case 'replaceMember':
      return invited.some(({ peerId }) => peerId === change.by.peerId) || !isMember(change.id)
    case 'setRoundTrip':
      return roundTripMs === change.roundTripMs
    case 'allowClient':
      return !denied.includes(change.id) && (clients === undefined || clients.includes(change.id))
    case 'denyClient':
      return denied.includes(change.id)
    case 'addAdmin':
      return admins.includes(change.id)
    case 'removeAdmin':
      return !admins.includes(change.id)
    case 'transferLeadership':
      return true
  }
}

function isNamed(member: string, named: string): boolean {
  return member === named || peerIdIn(member) === named
}
