/** Leadership transfer (thesis §3.10), the leader's half. The target's is `handleTimeoutNow`. */
import { roomRank } from './room.js'
import type { CoreState } from './state.js'
import type { TransferRefusal } from './types.js'

/** Starts a transfer, or replaces the target of one that is under way. Returns why it cannot. */
export function transferLeadership(state: CoreState, to: string): TransferRefusal {
  if (state.role !== 'leader') return 'notLeader'
  if (to === state.id) return 'self'
  if (!state.configuration.voters.includes(to)) return 'notVoter'
  if (state.transfer?.to !== to) state.transfer = { to, elapsed: 0 }
  sendTimeoutNow(state, to)
  return undefined
}

/**
 * Tells the target of a transfer to stand, if it has every entry. Called each time the target answers, because messages
 * get lost.
 */
export function sendTimeoutNow(state: CoreState, to: string): void {
  if (state.transfer?.to !== to || state.progress.get(to)?.match !== state.log.lastIndex) return
  state.send(to, { type: 'timeoutNow', term: state.term })
}

/**
 * The voter that would be the best next leader. A voter that has answered recently comes first, because a dead one
 * would not stand. Then a voter with room, if it holds every committed entry: without them it could not win. Then the
 * voter with the most advanced log.
 */
export function mostAdvancedVoter(state: CoreState): string | undefined {
  const others = state.configuration.voters.filter((id) => id !== state.id)
  const alive = others.filter((id) => state.progress.get(id)!.recentlyActive)
  const match = (id: string): number => state.progress.get(id)!.match
  const room = (id: string): number => (match(id) >= state.commit ? roomRank(state.progress.get(id)!.room) : 0)
  return (alive.length > 0 ? alive : others).sort((a, b) => room(b) - room(a) || match(b) - match(a))[0]
}
