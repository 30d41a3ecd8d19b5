/** Room on disks: what this node reports of itself, and how a leader uses the reports of others. */
import type { RaftRoom } from '@quire/protocol'
import { hasQuorum } from './quorum.js'
import type { CoreState } from './state.js'

export function roomOf(state: CoreState): RaftRoom {
  if (state.isFull) return 'none'
  return state.hasRoom ? 'enough' : 'little'
}

/** A higher rank means more room. A node that has not reported counts as one without room. */
export function roomRank(room: RaftRoom | undefined): number {
  return room === 'enough' ? 2 : room === 'little' ? 1 : 0
}

/**
 * The voter that a leader that lacks room should hand over to. It answers, holds every committed entry, and has more
 * room than this leader. So leadership moves only towards more room, and never back to a leader whose disk has not
 * changed. Undefined also if the other voters with room form no majority: a successor could not commit its first entry,
 * and its reads would wait for that entry.
 */
export function roomierVoter(state: CoreState): string | undefined {
  const { id, configuration, progress, commit } = state
  const own = roomRank(roomOf(state))
  const rank = (other: string): number => {
    const follower = progress.get(other)
    return follower?.recentlyActive === true ? roomRank(follower.room) : 0
  }
  if (!hasQuorum(configuration, (each) => (each === id ? own : rank(each)) > 0)) return undefined
  const match = (other: string): number => progress.get(other)?.match ?? 0
  return configuration.voters
    .filter((other) => other !== id && rank(other) > own && match(other) >= commit)
    .sort((a, b) => rank(b) - rank(a) || match(b) - match(a))[0]
}
