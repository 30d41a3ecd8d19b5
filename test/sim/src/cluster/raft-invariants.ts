import { crc32 } from 'node:zlib'
import { decode, raftConfiguration, type RaftConfiguration } from '@quire/protocol'
import type { Entry } from '@quire/raft'
import type { Coverage } from '../coverage.js'
import { Violation } from '../violation.js'
import type { SimPeer } from './peers.js'

interface Known {
  readonly term: number
  readonly crc: number
  /** Of an entry that changes the members. */
  readonly configuration: RaftConfiguration | undefined
}

interface Committed extends Known {
  /** The term whose leader committed it. */
  readonly inTerm: number
}

interface Seen extends Known {
  readonly previousTerm: number
}

/** The durable part of one peer's log, as last seen. It outlives the peer's crashes. */
interface Watched {
  life: number
  /** The log starts after this entry. The page store holds the entries up to it, which count as the log's. */
  base: number
  /** By index; entry 0 is empty. */
  readonly log: Known[]
  commit: number
  /** Its entries up to here were compared with the committed ones. */
  checked: number
  wasLeader: boolean
  /** The configuration that its node used. */
  members: Voters
}

interface Voters {
  readonly voters: readonly string[]
  readonly outgoing: readonly string[]
}

const KINDS = ['normal', 'config', 'noop']
const NONE: Voters = { voters: [], outgoing: [] }
const UNSEEN = { life: 0, base: 0, commit: 0, checked: 0, wasLeader: false, members: NONE }

/**
 * Checks the guarantees of Raft (extended version, Figure 3) from outside, after every event.
 *
 * These are election safety, log matching, leader completeness and state machine safety. It also checks that commit
 * never goes back, that a committed entry is on a majority's disks, that a restart finds everything that was durable,
 * and that a log which starts later starts after what is committed.
 *
 * A log belongs to a member, which is a peer with one folder. What a member had counts for it even after its folder is
 * lost, because it had acknowledged that. It counts for no other member.
 */
export class PeerRaftInvariants {
  /** By member id. */
  private readonly watched = new Map<string, Watched>()
  private readonly leaders = new Map<number, string>()
  /** By index, then by term: the one entry that was ever in a log there. */
  private readonly entries: Map<number, Seen>[] = []
  private readonly committed: Committed[] = []
  /** Committed configurations, by index. The last is in force. */
  readonly configurations: { readonly index: number; readonly configuration: RaftConfiguration }[] = []

  constructor(
    private readonly peers: readonly SimPeer[],
    private readonly coverage: Coverage
  ) {}

  /** The highest index that is known to be committed. */
  get commitIndex(): number {
    return Math.max(0, this.committed.length - 1)
  }

  /** Undefined if no entry is known to be committed there. */
  termOfCommitted(index: number): number | undefined {
    return this.committed[index]?.term
  }

  /** The last entry that a member has, or had before its folder was lost. */
  lastIndexOf(member: string): number {
    return lastOf(this.watched.get(member)?.log ?? [])
  }

  check(): void {
    // First record what is durable, then check what is committed.
    for (const peer of this.peers) if (peer.core !== undefined) this.checkLog(peer, this.watchedOf(peer))
    for (const peer of this.peers) if (peer.core !== undefined) this.checkNode(peer, this.watchedOf(peer))
  }

  private watchedOf({ member }: SimPeer): Watched {
    const known = this.watched.get(member!)
    if (known !== undefined) return known
    const unseen: Watched = { ...UNSEEN, log: [] }
    this.watched.set(member!, unseen)
    return unseen
  }

  private checkLog(peer: SimPeer, watched: Watched): void {
    const log = peer.core?.root.replica.log
    // An older folder holds nothing new. OldFolders checks that nothing is added to it.
    if (log === undefined || peer.isOnOldFolder) return
    const { log: known } = watched
    const isNewLife = watched.life !== peer.life
    const last = log.lastIndex
    const base = log.firstIndex - 1
    const isSame = base === watched.base && last === lastOf(known)
    if (!isNewLife && isSame && (last === 0 || log.term(last) === known[last]!.term)) return

    if (base !== watched.base) this.checkBase(peer, watched)
    const knownLast = lastOf(known)
    let common = Math.min(last, knownLast)
    while (common > base && log.term(common) !== known[common]!.term) common--
    if (common < knownLast) {
      // Only entries of a newer leader can replace durable ones. After a restart, their write was under way.
      const lost = known[common + 1]!.term
      const replacing = log.term(common + 1)
      if (replacing === undefined || (isNewLife && replacing < lost)) {
        const facts = `${peer.name} had flushed entry ${common + 1} of term ${lost}`
        throw new Violation('durability', `${facts}; now the log ends at ${last}, term there ${replacing}`)
      }
    }
    if (isNewLife) {
      watched.life = peer.life
      watched.commit = 0
      watched.checked = 0
      watched.wasLeader = false
    }
    known.length = Math.max(common + 1, 1)
    for (let index = common + 1; index <= last;) {
      for (const entry of log.entries(index, last + 1, 1 << 20)) {
        this.add(peer, known, entry.index, knownOf(entry))
        index = entry.index + 1
      }
    }
  }

  /**
   * The log starts after another entry: it was compacted, or it begins anew after a snapshot. Either way it starts
   * after what is committed, and names the configuration in force there.
   */
  private checkBase(peer: SimPeer, watched: Watched): void {
    const log = peer.core!.root.replica.log
    const base = log.firstIndex - 1
    if (base === 0) return this.checkWhole(peer, watched)
    const committed = this.committed.slice(0, base + 1)
    const term = committed[base]?.term
    // A crash may bring back segments that were removed.
    const isBack = base < watched.base && peer.life === watched.life
    if (isBack || term !== log.term(base)) {
      const facts = `${peer.name} starts after entry ${base} of term ${log.term(base)}; committed is term ${term}`
      throw new Violation('a log starts after what is committed', `${facts}; it started after ${watched.base} before`)
    }
    const index = committed.findLastIndex((entry) => entry?.configuration !== undefined)
    const found = log.configurations.findLast((entry) => entry.index <= base)
    if (found?.index !== index || knownOf(found).crc !== committed[index]!.crc) {
      const facts = `${peer.name} starts after ${base} with configuration ${found?.index}, in force is ${index}`
      throw new Violation('a log starts with the configuration in force', facts)
    }
    if (watched.log[base]?.term !== term) {
      this.coverage.add('logs that begin anew')
      watched.log.splice(0, Infinity, ...committed)
    }
    watched.base = base
  }

  /** The log starts with its first entry of all. Only a crash brings back segments that were removed. */
  private checkWhole(peer: SimPeer, watched: Watched): void {
    if (peer.life === watched.life) {
      throw new Violation('a log starts after what is committed', `${peer.name} has its first entry again`)
    }
    watched.base = 0
  }

  private add(peer: SimPeer, known: Known[], index: number, entry: Known): void {
    const previousTerm = known[index - 1]?.term ?? 0
    const atIndex = (this.entries[index] ??= new Map<number, Seen>())
    const seen = atIndex.get(entry.term)
    if (seen === undefined) {
      atIndex.set(entry.term, { ...entry, previousTerm })
    } else if (seen.crc !== entry.crc || seen.previousTerm !== previousTerm) {
      // By induction over the index, equal entries have equal predecessors.
      throw new Violation('log matching', `${peer.name} has another entry ${index} of term ${entry.term} than others`)
    }
    const committed = this.committed[index]
    if (committed !== undefined && committed.term > entry.term && !this.isStillHeld(index, committed.term)) {
      throw new Violation('leader completeness', `${peer.name} replaced committed entry ${index}`)
    }
    known[index] = entry
  }

  private checkNode(peer: SimPeer, watched: Watched): void {
    const node = peer.core?.root.node
    if (node === undefined || peer.isOnOldFolder) return
    const { role, term, commitIndex, appliedIndex, lastIndex, voters, outgoing } = node.status()
    const isLeader = role === 'leader'
    if (isLeader && !watched.wasLeader) this.checkElection(peer, term, lastIndex)
    watched.wasLeader = isLeader
    if (commitIndex < watched.commit) {
      throw new Violation('commit goes forward', `${peer.name}: ${watched.commit} -> ${commitIndex}`)
    }
    watched.commit = commitIndex
    const before = watched.members
    watched.members = { voters, outgoing }
    // After an installation, the disk has the former log until the new one is durable.
    if (peer.rows?.stage === 'adopted') return
    // A follower may know of a commit before the entry has replaced another one on its disk. What it applied is there.
    const end = isLeader ? commitIndex : appliedIndex
    for (; watched.checked < end; watched.checked++) {
      const index = watched.checked + 1
      // What others have committed was checked then. A follower may have applied it under an older configuration.
      const isKnown = index <= this.commitIndex
      // A leader counts a majority of the configuration before the event or after it. Another peer that is the first to
      // show a commit follows a leader that may have used an older one.
      const counted = [watched.members, before, ...(isLeader || isKnown ? [] : this.usedSince(peer, index))]
      // A leader commits what a majority of followers has, even while its own disk is still writing it.
      const entry = watched.log[index] ?? this.onMajority(index, counted)
      if (entry === undefined) return
      this.checkCommitted(peer, index, entry, term, counted)
    }
  }

  /** The configurations that the log of a peer holds, from that in force at an entry on. */
  private usedSince(peer: SimPeer, index: number): Voters[] {
    const { configurations } = peer.core!.root.replica.log
    const first = configurations.findLastIndex((entry) => entry.index <= index)
    return configurations.slice(Math.max(0, first)).map(({ data }) => decode(raftConfiguration, data))
  }

  private checkElection(peer: SimPeer, term: number, lastIndex: number): void {
    const other = this.leaders.get(term)
    if (other !== undefined && other !== peer.name) {
      throw new Violation('election safety', `${other} and ${peer.name} both lead term ${term}`)
    }
    if (other === undefined) this.coverage.add('elections')
    this.leaders.set(term, peer.name)
    // A leader of the past may learn only now that it was elected. It owes nothing to later terms.
    let index = this.commitIndex
    while (index > 0 && this.committed[index]!.inTerm >= term) index--
    const held = this.watchedOf(peer).log[index]
    // Entries that are only in its memory are checked when they are durable, or committed by another node.
    if (lastIndex < index || (held !== undefined && held.term !== this.committed[index]!.term)) {
      throw new Violation('leader completeness', `${peer.name} leads term ${term} without entry ${index}`)
    }
  }

  private checkCommitted(peer: SimPeer, index: number, entry: Known, inTerm: number, counted: readonly Voters[]): void {
    const known = this.committed[index]
    if (known !== undefined) {
      if (known.term !== entry.term || known.crc !== entry.crc) {
        throw new Violation(
          'state machine safety',
          `${peer.name} committed another entry ${index}: terms ${known.term} and ${entry.term}`
        )
      }
      return
    }
    this.committed[index] = { ...entry, inTerm }
    // The founding configuration is committed by definition: every voter starts with it.
    if (index > 1 && !counted.some((voters) => this.isHeldBy(voters, index, entry.term))) {
      const { voters, outgoing } = counted[0]!
      const counts = [voters, ...(outgoing.length > 0 ? [outgoing] : [])].map(
        (each) => `${this.holders(each, index, entry.term)} of ${each.length}`
      )
      throw new Violation(
        'committed is durable',
        `entry ${index} of term ${entry.term} is on the disks of ${counts.join(' and ')} voters`
      )
    }
    if (entry.configuration !== undefined) {
      this.configurations.push({ index, configuration: entry.configuration })
    }
  }

  /** Returns the entry that a majority of one of these configurations has on disk. */
  private onMajority(index: number, counted: readonly Voters[]): Known | undefined {
    for (const { log } of this.watched.values()) {
      const entry = log[index]
      if (entry !== undefined && counted.some((voters) => this.isHeldBy(voters, index, entry.term))) return entry
    }
    return undefined
  }

  /** A committed entry is on a majority of a configuration that was in force when it was committed, or later. */
  private isStillHeld(index: number, term: number): boolean {
    const first = this.configurations.findLastIndex((each) => each.index <= index)
    return this.configurations
      .slice(Math.max(0, first))
      .some(({ configuration }) => this.isHeldBy(configuration, index, term))
  }

  private isHeldBy({ voters, outgoing }: Voters, index: number, term: number): boolean {
    return [voters, ...(outgoing.length > 0 ? [outgoing] : [])].every(
      (each) => this.holders(each, index, term) * 2 > each.length
    )
  }

  private holders(members: readonly string[], index: number, term: number): number {
    return members.filter((member) => this.watched.get(member)?.log[index]?.term === term).length
  }
}

function lastOf(known: readonly Known[]): number {
  return Math.max(0, known.length - 1)
}

function knownOf({ term, kind, data }: Entry): Known {
  const configuration = kind === 'config' ? decode(raftConfiguration, data) : undefined
  return { term, crc: crc32(data, KINDS.indexOf(kind) + 1), configuration }
}
