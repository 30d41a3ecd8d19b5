/**
 * Judges what the peers say about their states after one compare entry (docs/storage.md, Scrub and comparison). Pure.
 */
import type { ComparisonOutcome } from '@quire/protocol'

/** A peer's state after the entry at `index`. `hash` is empty if its walk over the rows gave none. */
export interface StateReport {
  readonly index: number
  readonly hash: string
}

export interface Verdict {
  readonly index: number
  readonly outcome: ComparisonOutcome
  /** The hash that a majority of the voters has; undefined while none has one. */
  readonly agreed: string | undefined
  /** This peer's hash if a majority of the voters agrees on another one, so that this peer is wrong. */
  readonly wrong: string | undefined
  /** All voters have reported. */
  readonly isComplete: boolean
  /** The voters that have reported, and this peer, by member id. */
  readonly hashes: ReadonlyMap<string, string>
}

export class Comparison {
  /** The newest report of each member. */
  private readonly reports = new Map<string, StateReport>()
  /** The compare entry that this peer has applied last; 0 if there is none. */
  private index = 0

  /** `self` is the member id of this peer. */
  constructor(private readonly self: string) {}

  /** This peer has applied a compare entry. */
  begin(index: number): void {
    this.index = index
    for (const [member, report] of this.reports) if (report.index < index) this.reports.delete(member)
  }

  /** A member, or this peer itself, reports its state. Reports about earlier entries than the newest count no more. */
  reported(member: string, report: StateReport): void {
    const known = this.reports.get(member)?.index ?? 0
    if (report.index >= this.index && report.index >= known) this.reports.set(member, report)
  }

  /** Undefined if this peer has applied no compare entry. */
  judge(voters: readonly string[]): Verdict | undefined {
    const { index } = this
    if (index === 0) return undefined
    const hashes = this.hashesOf([...new Set([...voters, this.self])])
    const ofVoters = voters.flatMap((voter) => hashes.get(voter) ?? [])
    const agreed = ofVoters.find((hash) => hash !== '' && 2 * countOf(ofVoters, hash) > voters.length)
    const own = hashes.get(this.self)
    const isComplete = ofVoters.length === voters.length
    const known = [...hashes.values()]
    const outcome =
      new Set(known.filter((hash) => hash !== '')).size > 1
        ? 'differs'
        : !isComplete || own === undefined
          ? 'pending'
          : known.includes('')
            ? 'incomplete'
            : 'equal'
    const isWrong = agreed !== undefined && own !== undefined && own !== '' && own !== agreed
    return { index, outcome, agreed, wrong: isWrong ? own : undefined, isComplete, hashes }
  }

  private hashesOf(members: readonly string[]): Map<string, string> {
    const found = new Map<string, string>()
    for (const member of members) {
      const report = this.reports.get(member)
      if (report?.index === this.index) found.set(member, report.hash)
    }
    return found
  }
}

function countOf(hashes: readonly string[], hash: string): number {
  return hashes.filter((each) => each === hash).length
}
