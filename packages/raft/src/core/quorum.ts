/**
 * Majorities. In a joint configuration every decision needs a majority of the new voters and one of the outgoing voters
 * (§6).
 */
import type { Configuration } from './types.js'

export type VoteResult = 'won' | 'lost' | 'pending'

/** The highest index that a majority has stored (Figure 2, "Rules for Leaders", last). */
export function quorumIndex(configuration: Configuration, matchOf: (id: string) => number): number {
  return Math.min(...majorities(configuration).map((voters) => indexOfMajority(voters, matchOf)))
}

/** The election is lost as soon as the open votes cannot complete a majority (§5.2). */
export function voteResult(configuration: Configuration, votes: ReadonlyMap<string, boolean>): VoteResult {
  const results = majorities(configuration).map((voters) => resultOf(voters, votes))
  if (results.includes('lost')) return 'lost'
  return results.includes('pending') ? 'pending' : 'won'
}

export function hasQuorum(configuration: Configuration, has: (id: string) => boolean): boolean {
  return majorities(configuration).every((voters) => voters.filter(has).length >= majority(voters))
}

function majorities({ voters, outgoing }: Configuration): (readonly string[])[] {
  return outgoing.length > 0 ? [voters, outgoing] : [voters]
}

function majority(voters: readonly string[]): number {
  return Math.floor(voters.length / 2) + 1
}

function indexOfMajority(voters: readonly string[], matchOf: (id: string) => number): number {
  const matches = voters.map(matchOf).sort((a, b) => b - a)
  return matches[majority(voters) - 1] ?? 0
}

function resultOf(voters: readonly string[], votes: ReadonlyMap<string, boolean>): VoteResult {
  let granted = 0
  let open = 0
  for (const id of voters) {
    const vote = votes.get(id)
    if (vote === undefined) open++
    else if (vote) granted++
  }
  if (granted >= majority(voters)) return 'won'
  return granted + open >= majority(voters) ? 'pending' : 'lost'
}
