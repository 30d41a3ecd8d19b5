/** The configurations of a log, and how one leads to the next (§6; thesis §4). */
import { assert, decode, MAX_MEMBERS, raftConfiguration, type RaftConfiguration } from '@quire/protocol'
import type { Configuration, Entry, MembershipChange } from './types.js'

const EMPTY_CONFIGURATION: RaftConfiguration = {
  voters: [],
  learners: [],
  outgoing: [],
  learnersNext: [],
  context: new Uint8Array(0)
}

/** Every node to which the leader sends entries. */
export function members({ voters, learners, outgoing }: Configuration): Set<string> {
  return new Set([...voters, ...outgoing, ...learners])
}

/** Whether a node counts in some majority, and so may stand for election. */
export function isVoter({ voters, outgoing }: Configuration, id: string): boolean {
  return voters.includes(id) || outgoing.includes(id)
}

export function isJoint({ outgoing }: Configuration): boolean {
  return outgoing.length > 0
}

/**
 * The configuration that `changes` lead to, or the reason why they are invalid. If at most one voter is added or
 * removed, any two majorities overlap, and one step suffices (thesis §4.2.1). Otherwise the result is a joint
 * configuration.
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
    // An outgoing voter still counts, so it becomes a learner only when the joint configuration is left.
    learners: [...learners].filter((id) => !removed.includes(id)),
    learnersNext: [...learners].filter((id) => removed.includes(id))
  }
}

/** The configuration that follows a joint one. */
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
 * Tracks the configurations that the log holds.
 *
 * A server uses the latest configuration in its log, committed or not (§6). When a truncation removes that one, the one
 * before it is in force again.
 */
export class ConfigurationHistory {
  private known: KnownConfiguration[] = []

  /** Has no voters until the log has a configuration. */
  get current(): RaftConfiguration {
    return this.known.at(-1)?.configuration ?? EMPTY_CONFIGURATION
  }

  /** Index of the current configuration's entry; 0 if there is none. */
  get index(): number {
    return this.known.at(-1)?.entry.index ?? 0
  }

  /** The entry of the configuration in force at `index`. */
  entryAt(index: number): Entry {
    const found = this.known.findLast(({ entry }) => entry.index <= index)
    assert(found !== undefined, `no configuration at or before ${index}`)
    return found.entry
  }

  /** The configuration in force at `index`, and every later one. */
  since(index: number): readonly Configuration[] {
    const first = this.known.findLastIndex(({ entry }) => entry.index <= index)
    return this.known.slice(Math.max(0, first)).map(({ configuration }) => configuration)
  }

  append(entry: Entry): void {
    assert(entry.index > this.index, `configuration at ${entry.index} after the one at ${this.index}`)
    this.known.push({ entry, configuration: decode(raftConfiguration, entry.data) })
  }

  /** Forgets the configurations at `index` and above. */
  truncate(index: number): void {
    while (this.index >= index) this.known.pop()
  }

  /** Forgets every configuration before the one in force at `index`. */
  compact(index: number): void {
    const first = this.known.findLastIndex(({ entry }) => entry.index <= index)
    if (first > 0) this.known.splice(0, first)
  }

  /** Forgets everything but `entry`. */
  reset(entry: Entry): void {
    this.known = []
    this.append(entry)
  }
}
