import type { RaftMark } from '@quire/protocol'
import type { RaftLog, RaftNode } from '@quire/raft'
import type { Acknowledged } from './peer-links.js'

/** What the log of a peer proves: of the peer itself, and of its followers (docs/identity.md, Evidence). */
export class LogEvidence {
  constructor(
    private readonly log: RaftLog,
    /** Undefined until connected. */
    private readonly node: () => RaftNode | undefined
  ) {}

  /** The durable term, and the last durable entry of the log. */
  durableMark(): RaftMark {
    const { log } = this
    return { term: log.hardState.term, lastTerm: log.term(log.lastIndex) ?? 0, lastIndex: log.lastIndex }
  }

  /** The durable term, and the last entry that is both durable here and known here to be committed. */
  committedMark(): RaftMark {
    const node = this.node()
    const { term } = this.log.hardState
    if (node === undefined) return { term, lastTerm: 0, lastIndex: 0 }
    const { commitIndex, durableIndex } = node.status()
    const index = Math.min(commitIndex, durableIndex)
    // Storage may still hold entries that give way to an installed snapshot.
    return { term, lastTerm: node.term(index) ?? 0, lastIndex: index }
  }

  /** For each follower, its last entry that is committed, and so stays on its disk for good. */
  acknowledged(): Acknowledged[] {
    const { log } = this
    const node = this.node()
    if (node === undefined) return []
    const committed = Math.min(node.status().commitIndex, log.lastIndex)
    const found: Acknowledged[] = []
    for (const [member, { matchIndex }] of node.followers()) {
      const index = Math.min(matchIndex, committed)
      const term = log.term(index)
      if (term !== undefined && index > 0) found.push({ member, term, index })
    }
    return found
  }
}
