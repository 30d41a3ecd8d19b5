/** Room on disks: what this node says of its own, and what a leader makes of what the others say. */
import type { RaftRoom } from '@quire/protocol'
import { hasQuorum } from './quorum.js'
import type { CoreState } from './state.js'

/** What this node says of itself. */
export function roomOf(state: CoreState): RaftRoom {
  if (state.isFull) return 'none'
  return state.hasRoom ? 'enough' : 'little'
}

/** More is better. A node that has not said anything yet counts as one without room. */
export function roomRank(room: RaftRoom | undefined): number {
  return room === 'enough' ? 2 : room === 'little' ? 1 : 0
}

/**
 * The voter that leadership should go to because this leader lacks room. It answers, has everything that is
 * committed, and has more room than this leader: so leadership moves only upwards, and never back to a leader whose
 * disk is as it was. Undefined also when the voters left make no majority that stores entries: the successor could
 * not even commit its first entry, and its reads would wait for that.
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
