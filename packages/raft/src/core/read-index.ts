import { hasQuorum } from './quorum.js'
import type { Configuration, ReadState } from './types.js'

/** Reads that wait for the same round of heartbeats. */
interface Round {
  readonly number: number
  readonly index: number
  readonly contexts: readonly number[]
  readonly confirmed: Set<string>
}

/**
 * Confirms linearizable reads without a log entry (§8; thesis §6.4).
 *
 * The leader notes its commit index, runs a round of heartbeats to make sure that it still leads, and may then answer
 * from that index. Reads that arrive together share a round. Round numbers rise as long as the core lives, and a term
 * has one leader, so a reply of that term to round n confirms every round up to n.
 */
export class ReadRounds {
  private lastRound = 0
  private waiting: number[] = []
  private rounds: Round[] = []

  /** The round that heartbeats carry. */
  get currentRound(): number {
    return this.lastRound
  }

  get hasWaiting(): boolean {
    return this.waiting.length > 0
  }

  add(context: number): void {
    this.waiting.push(context)
  }

  /** Opens a round for all waiting reads. The caller sends the heartbeats. */
  begin(commit: number, self: string): void {
    this.lastRound++
    this.rounds.push({ number: this.lastRound, index: commit, contexts: this.waiting, confirmed: new Set([self]) })
    this.waiting = []
  }

  confirm(from: string, round: number): void {
    for (const open of this.rounds) if (open.number <= round) open.confirmed.add(from)
  }

  /** Removes and returns the reads that a majority has confirmed. */
  take(configuration: Configuration): ReadState[] {
    const done: ReadState[] = []
    while (this.rounds.length > 0 && hasQuorum(configuration, (id) => this.rounds[0]!.confirmed.has(id))) {
      const { contexts, index } = this.rounds.shift()!
      for (const context of contexts) done.push({ context, index })
    }
    return done
  }

  clear(): void {
    this.waiting = []
    this.rounds = []
  }
}
