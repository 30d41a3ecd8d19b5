/** The content of a new log. */
import { encode, InvalidArgumentError, MAX_MEMBERS, raftConfiguration } from '@quire/protocol'
import type { Entry, HardState } from '../core/types.js'
import type { LogCreation } from './types.js'

/**
 * The hard state and entries that a new log holds: with `bootstrap`, the cluster's first configuration as entry 1 of
 * term 1, committed by definition; with `join`, nothing. Throws InvalidArgumentError for an invalid set of members.
 */
export function firstContent(creation: LogCreation): {
  readonly hardState: HardState | undefined
  readonly entries: readonly Entry[]
} {
  if ('join' in creation) return { hardState: undefined, entries: [] }
  const { voters, learners, context } = creation.bootstrap
  const members = [...voters, ...learners]
  const isSound = voters.length > 0 && members.length <= MAX_MEMBERS && new Set(members).size === members.length
  if (!isSound) {
    const named = members.join(', ').slice(0, 256)
    throw new InvalidArgumentError('bootstrap', named, `1 to ${MAX_MEMBERS} members, all different, one voter at least`)
  }
  const data = encode(raftConfiguration, { voters, learners, outgoing: [], learnersNext: [], context })
  return {
    hardState: { term: 1, vote: undefined, commit: 1 },
    entries: [{ index: 1, term: 1, kind: 'config', data }]
  }
}
