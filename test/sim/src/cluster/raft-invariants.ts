import { crc32 } from 'node:zlib'
import type { Coverage } from '../coverage.js'
import { Violation } from '../violation.js'
import type { SimPeer } from './peers.js'

interface Known {
  readonly term: number
  readonly crc: number
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
  /** By index; entry 0 is empty. */
  readonly log: Known[]
  commit: number
  /** Its entries up to here were compared with the committed ones. */
  checked: number
  wasLeader: boolean
}

const KINDS = ['normal', 'config', 'noop']

/**
 * Checks the guarantees of Raft (extended version, Figure 3) from outside, after every event.
 *
 * These are election safety, log matching, leader completeness and state machine safety. It also checks that commit
 * never goes back, that a committed entry is on a majority's disks, and that a restart finds everything that was
 * durable.
 */
export class PeerRaftInvariants {
  private readonly watched = new Map<SimPeer, Watched>()
  private readonly leaders = new Map<number, string>()
  /** By index, then by term: the one entry that was ever in a log there. */
  private readonly entries: Map<number, Seen>[] = []
  private readonly committed: Committed[] = []

  constructor(
    private readonly peers: readonly SimPeer[],
    private readonly coverage: Coverage
  ) {
    for (const peer of peers) this.watched.set(peer, { life: 0, log: [], commit: 0, checked: 0, wasLeader: false })
  }

  /** The highest index that is known to be committed. */
  get commitIndex(): number {
    return Math.max(0, this.committed.length - 1)
  }

  /** Undefined if no entry is known to be committed there. */
  termOfCommitted(index: number): number | undefined {
    return this.committed[index]?.term
  }

  check(): void {
    // First record what is durable, then check what is committed.
    for (const peer of this.peers) this.checkLog(peer, this.watched.get(peer)!)
    for (const peer of this.peers) this.checkNode(peer, this.watched.get(peer)!)
  }

  private checkLog(peer: SimPeer, watched: Watched): void {
    const log = peer.core?.root.replica.log
    // An older folder holds nothing new. OldFolders checks that nothing is added to it.
    if (log === undefined || peer.isOnOldFolder) return
    const { log: known } = watched
    const knownLast = Math.max(0, known.length - 1)
    const isNewLife = watched.life !== peer.life
    const last = log.lastIndex
    if (!isNewLife && last === knownLast && (last === 0 || log.term(last) === known[last]!.term)) return

    let common = Math.min(last, knownLast)
    while (common > 0 && log.term(common) !== known[common]!.term) common--
    if (isNewLife && common < knownLast) {
      // Only entries of a newer leader, whose write was under way, can replace durable ones.
      const replacing = log.term(common + 1)
      if (replacing === undefined || replacing < known[common + 1]!.term) {
        throw new Violation(
          'durability',
          `${peer.name} had flushed entry ${common + 1} of term ${known[common + 1]!.term}; after its restart the log ends at ${last}, term there ${replacing}`
        )
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
        this.add(peer, known, entry.index, {
          term: entry.term,
          crc: crc32(entry.data, KINDS.indexOf(entry.kind) + 1)
        })
        index = entry.index + 1
      }
    }
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
    if (committed !== undefined && committed.term > entry.term && this.holders(index, committed.term) < 2) {
      throw new Violation('leader completeness', `${peer.name} replaced committed entry ${index}`)
    }
    known[index] = entry
  }

  private checkNode(peer: SimPeer, watched: Watched): void {
    const node = peer.core?.root.node
    if (node === undefined || peer.isOnOldFolder) return
    const { role, term, commitIndex, appliedIndex, lastIndex } = node.status()
    const isLeader = role === 'leader'
    if (isLeader && !watched.wasLeader) this.checkElection(peer, term, lastIndex)
    watched.wasLeader = isLeader
    if (commitIndex < watched.commit) {
      throw new Violation('commit goes forward', `${peer.name}: ${watched.commit} -> ${commitIndex}`)
    }
    watched.commit = commitIndex
    // A follower may know of a commit before the entry has replaced another one on its disk. What it applied is there.
    const end = isLeader ? commitIndex : appliedIndex
    for (; watched.checked < end; watched.checked++) {
      const index = watched.checked + 1
      // A leader commits what a majority of followers has, even while its own disk is still writing it.
      const entry = watched.log[index] ?? this.onMajority(index)
      if (entry === undefined) return
      this.checkCommitted(peer, index, entry, term)
    }
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
    const held = this.watched.get(peer)!.log[index]
    // Entries that are only in its memory are checked when they are durable, or committed by another node.
    if (lastIndex < index || (held !== undefined && held.term !== this.committed[index]!.term)) {
      throw new Violation('leader completeness', `${peer.name} leads term ${term} without entry ${index}`)
    }
  }

  private checkCommitted(peer: SimPeer, index: number, entry: Known, inTerm: number): void {
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
    const holders = this.holders(index, entry.term)
    // The founding configuration is committed by definition: every voter starts with it.
    if (index > 1 && holders * 2 <= this.peers.length) {
      throw new Violation('committed is durable', `entry ${index} of term ${entry.term} is on ${holders} disks`)
    }
  }

  /** Returns the entry that a majority has on disk. */
  private onMajority(index: number): Known | undefined {
    for (const { log } of this.watched.values()) {
      const entry = log[index]
      if (entry !== undefined && this.holders(index, entry.term) * 2 > this.peers.length) return entry
    }
    return undefined
  }

  private holders(index: number, term: number): number {
    let count = 0
    for (const { log } of this.watched.values()) if (log[index]?.term === term) count++
    return count
  }
}
