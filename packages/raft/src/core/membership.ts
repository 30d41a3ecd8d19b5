/** Proposals of new configurations (§6; thesis §4). */
import { encode, raftConfiguration } from '@quire/protocol'
import { applyChanges, isJoint } from './configuration.js'
import { appendAsLeader, countProposal, refusal } from './replication.js'
import type { CoreState } from './state.js'
import type { ChangeProposed, Configuration, Entry, MembershipChange } from './types.js'

/** Appends the configuration that `changes` and `context` lead to, or says why it cannot. */
export function changeMembership(
  state: CoreState,
  changes: readonly MembershipChange[],
  context: Uint8Array | undefined
): ChangeProposed {
  const { configurations, configuration } = state
  const refused = refusal(state, context?.length ?? 0)
  if (refused !== undefined) return refused
  // Two changes at once could have majorities that do not overlap (thesis §4.1).
  if (configurations.index > state.commit || isJoint(configuration)) {
    return { refused: 'pending', index: configurations.index }
  }
  // Other nodes may hold an uncommitted change of an earlier term. A committed entry of this term rules that out (the
  // bug of single-server changes that was found in 2015).
  if (!state.committedInTerm) return { refused: 'pending', index: state.termStart }
  const next = changes.length === 0 && context !== undefined ? configuration : applyChanges(configuration, changes)
  if (typeof next === 'string') return { refused: 'invalid', reason: next }
  // A node with an empty log grants no vote, so a majority that needs it may never form again (thesis §4.2.1).
  const isEmpty = (id: string): boolean => (state.progress.get(id)?.match ?? 0) === 0
  const empty = next.voters.find((id) => id !== state.id && !configuration.voters.includes(id) && isEmpty(id))
  if (empty !== undefined) {
    return { refused: 'invalid', reason: `${empty} has nothing of the log yet: let it be a learner first` }
  }
  const { index, term } = appendConfiguration(state, next, context ?? configurations.current.context)
  return { index, term }
}

export function appendConfiguration(state: CoreState, next: Configuration, context: Uint8Array): Entry {
  const entry = appendAsLeader(state, 'config', encode(raftConfiguration, { ...next, context }))
  countProposal(state, entry)
  return entry
}
