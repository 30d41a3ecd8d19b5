/** The configurations of a log, and how one becomes the next (§6; thesis §4). */
import { assert, decode, MAX_MEMBERS, raftConfiguration, type RaftConfiguration } from '@quire/protocol'
import type { Configuration, Entry, MembershipChange } from './types.js'

const EMPTY_CONFIGURATION: RaftConfiguration = {
  voters: [],
  learners: [],
  outgoing: [],
  learnersNext: [],
  context: new Uint8Array(0)
}

/** Everybody whom the leader sends entries to. */
export function members({ voters, learners, outgoing }: Configuration): Set<string> {
  return new Set([...voters, ...outgoing, ...learners])
}

/** Counts in some majority, so it may stand for election. */
export function isVoter({ voters, outgoing }: Configuration, id: string): boolean {
  return voters.includes(id) || outgoing.includes(id)
}

export function isJoint({ outgoing }: Configuration): boolean {
  return outgoing.length > 0
}

/**
 * The configuration that `changes` ask for: reached in one step where one voter at most comes or goes, because then any two
 * majorities overlap (thesis §4.2.1), or else a joint one.
 */
export function applyChanges(current: Configuration, changes: readonly MembershipChange[]): Configuration | string {
  const voters = new Set(current.voters)
  const learners = new Set(current.learners)
  const named = new Set<string>()
  for (const { type, id } of changes) {
    if (named.has(id)) return `${id} is named twice`
    named.add(id)
    voters.delete(id)
    learners.delete(id)
    if (type === 'voter') voters.add(id)
    else if (type === 'learner') learners.add(id)
  }
  if (voters.size === 0) return 'no voter would be left'
  if (voters.size + learners.size > MAX_MEMBERS) return `more than ${MAX_MEMBERS} members`
  const removed = current.voters.filter((id) => !voters.has(id))
  const added = [...voters].filter((id) => !current.voters.includes(id))
  const isSame = removed.length + added.length === 0 && sameMembers(current.learners, learners)
  if (isSame) return 'it changes nothing'
  if (removed.length + added.length <= 1) {
    return { voters: [...voters], learners: [...learners], outgoing: [], learnersNext: [] }
  }
  return {
    voters: [...voters],
    outgoing: current.voters,
    // Who still counts cannot be one who does not count.
    learners: [...learners].filter((id) => !removed.includes(id)),
    learnersNext: [...learners].filter((id) => removed.includes(id))
  }
}

/** What a joint configuration leads to. */
export function leaveJoint({ voters, learners, learnersNext }: Configuration): Configuration {
  return { voters, learners: [...learners, ...learnersNext], outgoing: [], learnersNext: [] }
}

function sameMembers(a: readonly string[], b: ReadonlySet<string>): boolean {
  return a.length === b.size && a.every((id) => b.has(id))
}

interface KnownConfiguration {
  readonly entry: Entry
  readonly configuration: RaftConfiguration
}

/**
 * A server uses the latest configuration in its log, committed or not (§6), so one that is truncated away gives way to the
 * one before.
 */
export class ConfigurationHistory {
  private known: KnownConfiguration[] = []

  /** Voters are empty until the log has a configuration. */
  get current(): RaftConfiguration {
    return this.known.at(-1)?.configuration ?? EMPTY_CONFIGURATION
  }

  /** Of the current configuration's entry; 0 for none. */
  get index(): number {
    return this.known.at(-1)?.entry.index ?? 0
  }

  /** The entry of the configuration in force at `index`. */
  entryAt(index: number): Entry {
    const found = this.known.findLast(({ entry }) => entry.index <= index)
    assert(found !== undefined, `no configuration at or before ${index}`)
    return found.entry
  }

  /** The configuration in force at `index`, and all after it. */
  since(index: number): readonly Configuration[] {
    const first = this.known.findLastIndex(({ entry }) => entry.index <= index)
    return this.known.slice(Math.max(0, first)).map(({ configuration }) => configuration)
  }

  append(entry: Entry): void {
    assert(entry.index > this.index, `configuration at ${entry.index} after the one at ${this.index}`)
    this.known.push({ entry, configuration: decode(raftConfiguration, entry.data) })
  }

  /** Forgets what stood at `index` and above. */
  truncate(index: number): void {
    while (this.index >= index) this.known.pop()
  }

  /** Forgets what nobody asks for any more: everything before the one in force at `index`. */
  compact(index: number): void {
    const first = this.known.findLastIndex(({ entry }) => entry.index <= index)
    if (first > 0) this.known.splice(0, first)
  }

  /** Begins anew. */
  reset(entry: Entry): void {
    this.known = []
    this.append(entry)
  }
}
