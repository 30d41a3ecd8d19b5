import type { RaftMessage } from '@quire/protocol'
import type { RaftStatus } from '@quire/raft'
import { Violation } from '../violation.js'
import type { LogEnd } from './log-watch.js'
import type { ObservedNode } from './observed-node.js'

/** The messages that one life of a node has heard. */
interface Heard {
  readonly life: number
  /** Terms for which its leader told it to stand at once. */
  readonly told: Set<number>
  /** The voters that granted it, by term. */
  readonly preVotes: Map<number, Set<string>>
  readonly votes: Map<number, Set<string>>
  /**
   * Requests for its vote, by type, candidate and term: whether the candidate was as up to date as the node's disk when
   * it asked.
   */
  readonly asked: Map<string, boolean>
}

/**
 * Checks what nodes promise each other in votes or acknowledgments.
 *
 * It sees each message when it leaves and when it arrives.
 */
export class VoteInvariants {
  private readonly begun = new Set<number>([0, 1])
  /** By term, and then by voter: the candidate that it voted for. This outlives crashes. */
  private readonly votes = new Map<number, Map<string, string>>()
  private readonly heard = new Map<string, Heard>()
  /** By term: the terms of the entries that its leader has sent, by index. */
  private readonly appended = new Map<number, Map<number, number>>()

  /** By candidate and term: the end of its log. */
  private readonly stood = new Map<string, LogEnd>()

  constructor(private readonly nodes: ReadonlyMap<string, ObservedNode>) {}

  isBegun(term: number): boolean {
    return this.begun.has(term)
  }

  /** A node stands in an election: a majority has told it that it could win, or its leader has told it to stand. */
  checkBegun(node: ObservedNode, term: number, { voters, outgoing }: Pick<RaftStatus, 'voters' | 'outgoing'>): void {
    this.begun.add(term)
    const { told, preVotes } = this.heardBy(node)
    if (told.has(term - 1)) return
    const granted = preVotes.get(term)
    for (const members of [voters, outgoing]) {
      if (members.length > 0 && !isMajority(node.name, granted, members)) {
        const who = [...(granted ?? [])].join(' ')
        throw new Violation(
          'pre-vote raises no term',
          `${node.name} stands in term ${term}, pre-votes of: ${who || 'nobody'}`
        )
      }
    }
  }

  checkElected(node: ObservedNode, { term, voters, outgoing }: RaftStatus): void {
    const { vote, term: durableTerm } = node.watched.hardState
    if (durableTerm !== term || vote !== node.name) {
      throw new Violation(
        'a vote is durable',
        `${node.name} leads term ${term}; on its disk is a vote for ${vote} in ${durableTerm}`
      )
    }
    const granted = this.heardBy(node).votes.get(term)
    for (const members of [voters, outgoing]) {
      if (members.length > 0 && !isMajority(node.name, granted, members)) {
        const who = [...(granted ?? [])].join(' ')
        throw new Violation('elected by a majority', `${node.name} leads term ${term}, votes of: ${who || 'nobody'}`)
      }
    }
  }

  /**
   * Returns the end of the log with which a node stood; undefined if it asked nobody, because it was the only voter.
   */
  logOf(candidate: string, term: number): LogEnd | undefined {
    return this.stood.get(`${candidate} ${term}`)
  }

  sent(node: ObservedNode, to: string, message: RaftMessage): void {
    switch (message.type) {
      case 'requestVote':
        this.stood.set(`${node.name} ${message.term}`, message)
        return this.vote(node, node.name, message.term)
      case 'voteReply':
        if (message.granted) this.granted(node, to, message.term)
        return
      case 'preVoteReply':
        if (message.granted) this.checkUpToDate(node, to, message.term, 'requestPreVote')
        return
      case 'appendReply':
        if (!message.rejected) this.acknowledged(node, to, message.term, message.index)
        return
      case 'append':
        return this.append(message.term, message)
      case 'heartbeat':
        return this.checkCapped(node, to, message.commit)
      case 'timeoutNow':
        return this.checkTarget(node, to)
      default:
    }
  }

  delivered(node: ObservedNode, from: string, message: RaftMessage): void {
    switch (message.type) {
      case 'requestVote':
      case 'requestPreVote':
        return this.asked(node, `${message.type} ${from} ${message.term}`, message)
      case 'preVoteReply':
        if (message.granted) addTo(this.heardBy(node).preVotes, message.term, from)
        return
      case 'voteReply':
        if (message.granted) addTo(this.heardBy(node).votes, message.term, from)
        return
      case 'timeoutNow':
        this.heardBy(node).told.add(message.term)
        break
      default:
    }
  }

  private granted(node: ObservedNode, to: string, term: number): void {
    const { hardState } = node.watched
    if (hardState.term < term || (hardState.term === term && hardState.vote !== to)) {
      const facts = `${node.name} votes for ${to} in term ${term}; on its disk is ${hardState.vote} in ${hardState.term}`
      throw new Violation('a vote is durable', facts)
    }
    this.vote(node, to, term)
    this.checkUpToDate(node, to, term, 'requestVote')
  }

  private vote(node: ObservedNode, to: string, term: number): void {
    let votes = this.votes.get(term)
    if (votes === undefined) this.votes.set(term, (votes = new Map<string, string>()))
    const before = votes.get(node.name) ?? to
    if (before !== to)
      throw new Violation('one vote a term', `${node.name} votes for ${before} and ${to} in term ${term}`)
    votes.set(node.name, to)
  }

  /** A candidate must be at least as up to date as the voter (§5.4.1). */
  private asked(
    node: ObservedNode,
    key: string,
    message: { readonly lastIndex: number; readonly lastTerm: number }
  ): void {
    const { asked } = this.heardBy(node)
    const { lastIndex, lastTerm } = this.logEnd(node)
    const isUpToDate = message.lastTerm > lastTerm || (message.lastTerm === lastTerm && message.lastIndex >= lastIndex)
    // It may be asked again later, when it has more, while the answer to the first question is still under way.
    asked.set(key, isUpToDate || asked.get(key) === true)
  }

  /**
   * The disk may lack entries that the node has in memory. It may also have entries that a leader has cut off while the
   * disk is full. None of these is committed.
   */
  private logEnd({ status, watched }: ObservedNode): LogEnd {
    if (status === undefined) return watched
    const { lastIndex } = status
    let lastTerm: number | undefined
    for (let term = status.term; term > 0 && lastTerm === undefined; term--) {
      lastTerm = this.appended.get(term)?.get(lastIndex)
    }
    lastTerm ??= watched.entries[lastIndex]?.term
    if (lastTerm === undefined) return watched
    const isOlder = lastTerm < watched.lastTerm || (lastTerm === watched.lastTerm && lastIndex < watched.lastIndex)
    return isOlder ? { lastIndex, lastTerm } : watched
  }

  private checkUpToDate(node: ObservedNode, to: string, term: number, type: string): void {
    if (this.heardBy(node).asked.get(`${type} ${to} ${term}`) === true) return
    const { lastIndex, lastTerm } = node.watched
    const facts = `${node.name}, which has entry ${lastIndex} of term ${lastTerm}, is for ${to} in term ${term}, which has less`
    throw new Violation('only an up-to-date candidate is elected', facts)
  }

  private acknowledged(node: ObservedNode, to: string, term: number, index: number): void {
    const { watched, name } = node
    if (watched.lastIndex < index || watched.hardState.term < term) {
      const facts = `${name} acknowledges entry ${index} in term ${term}; on its disk is entry ${watched.lastIndex}, term ${watched.hardState.term}`
      throw new Violation('acknowledged is durable', facts)
    }
    const theirs = this.appended.get(term)?.get(index)
    const own = watched.entries[index]!.term
    if (theirs !== undefined && theirs !== own) {
      const facts = `${name} acknowledges entry ${index} of term ${own}; its leader ${to} has sent term ${theirs}`
      throw new Violation('acknowledged is durable', facts)
    }
  }

  /** A leader's entries may be newer than its disk, which can be full. */
  private append(term: number, { prevIndex, prevTerm, entries }: Extract<RaftMessage, { type: 'append' }>): void {
    let terms = this.appended.get(term)
    if (terms === undefined) this.appended.set(term, (terms = new Map<number, number>()))
    terms.set(prevIndex, prevTerm)
    for (const { index, term: theirs } of entries) terms.set(index, theirs)
  }

  /**
   * The target of a transfer has everything (thesis §3.10), except for what the leader itself appended in this turn. A
   * leader that is not a voter has stepped down before it asks. Its disk may have entries that an earlier leader has
   * cut off while the disk is full.
   */
  private checkTarget({ name, status, watched }: ObservedNode, to: string): void {
    const target = this.nodes.get(to)?.watched
    if (status?.role !== 'leader' || target === undefined) return
    const lastIndex = Math.min(watched.lastIndex, status.lastIndex)
    if (target.lastIndex >= lastIndex) return
    // A leader that slept through an election cannot know what its successor has truncated. The target ignores the
    // older term.
    if (target.hardState.term > status.term) return
    const facts = `${name} asks ${to} to stand, which has ${target.lastIndex} of ${lastIndex}`
    throw new Violation('leadership goes to a voter that has everything', facts)
  }

  private checkCapped(node: ObservedNode, to: string, commit: number): void {
    const watched = this.nodes.get(to)?.watched
    if (watched !== undefined && !watched.wasWiped && commit > watched.lastIndex) {
      throw new Violation(
        "a heartbeat's commit is capped",
        `${node.name} tells ${to} ${commit}, which has ${watched.lastIndex}`
      )
    }
  }

  private heardBy({ name, life }: ObservedNode): Heard {
    let heard = this.heard.get(name)
    if (heard?.life !== life) {
      heard = { life, told: new Set(), preVotes: new Map(), votes: new Map(), asked: new Map() }
      this.heard.set(name, heard)
    }
    return heard
  }
}

function addTo(map: Map<number, Set<string>>, term: number, from: string): void {
  const set = map.get(term)
  if (set === undefined) map.set(term, new Set([from]))
  else set.add(from)
}

function isMajority(self: string, granted: ReadonlySet<string> | undefined, members: readonly string[]): boolean {
  let count = 0
  for (const member of members) if (member === self || granted?.has(member) === true) count++
  return count * 2 > members.length
}
