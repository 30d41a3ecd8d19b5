import { assert, decode, raftConfiguration } from '@quire/protocol'
import type { Configuration, Entry } from './types.js'

export type VoteResult = 'won' | 'lost' | 'pending'

/** The highest index that a majority of the voters has (Figure 2, "Rules for Leaders", last). */
export function quorumIndex(configuration: Configuration, matchOf: (id: string) => number): number {
  const matches = configuration.voters.map(matchOf).sort((a, b) => b - a)
  return matches[majority(configuration) - 1] ?? 0
}

export function voteResult(configuration: Configuration, votes: ReadonlyMap<string, boolean>): VoteResult {
  let granted = 0
  let open = 0
  for (const id of configuration.voters) {
    const vote = votes.get(id)
    if (vote === undefined) open++
    else if (vote) granted++
  }
  if (granted >= majority(configuration)) return 'won'
  return granted + open >= majority(configuration) ? 'pending' : 'lost'
}

export function hasQuorum(configuration: Configuration, has: (id: string) => boolean): boolean {
  return configuration.voters.filter(has).length >= majority(configuration)
}

export function members(configuration: Configuration): string[] {
  return [...configuration.voters, ...configuration.learners]
}

function majority(configuration: Configuration): number {
  return Math.floor(configuration.voters.length / 2) + 1
}

/**
 * A server uses the latest configuration in its log, committed or not (§6), so one that is truncated away gives way to the
 * one before.
 */
export class ConfigurationHistory {
  private readonly known: { index: number; configuration: Configuration }[] = []

  get current(): Configuration {
    return this.known.at(-1)?.configuration ?? { voters: [], learners: [] }
  }

  append(entry: Entry): void {
    const last = this.known.at(-1)?.index ?? 0
    assert(entry.index > last, `configuration at ${entry.index} after the one at ${last}`)
    const { voters, learners } = decode(raftConfiguration, entry.data)
    this.known.push({ index: entry.index, configuration: { voters, learners } })
  }

  /** Forgets what stood at `index` and above. True when the current configuration changed. */
  truncate(index: number): boolean {
    const before = this.known.length
    while ((this.known.at(-1)?.index ?? 0) >= index) this.known.pop()
    return this.known.length < before
  }
}
