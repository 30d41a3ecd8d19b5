import type { RaftStatus } from '@quire/raft'

type Room = RaftStatus['room']

const RANKS: Readonly<Record<Room, number>> = { none: 0, little: 1, enough: 2 }

interface Change {
  readonly rank: number
  /** When it had less room after that; undefined while it holds. */
  until: number | undefined
}

/**
 * Remembers the room that nodes have now or recently had.
 *
 * A leader goes by their last answers.
 */
export class RecentRoom {
  private readonly changes = new Map<string, Change[]>()

  constructor(private readonly windowMs: number) {}

  note(name: string, room: Room, now: number): void {
    const rank = RANKS[room]
    const before = (this.changes.get(name) ?? []).filter(({ until = now }) => until >= now - this.windowMs)
    this.changes.set(name, before)
    const last = before.at(-1)
    if (last?.rank === rank) return
    if (last !== undefined) last.until = now
    before.push({ rank, until: undefined })
  }

  now(name: string): number {
    return this.changes.get(name)?.at(-1)?.rank ?? 0
  }

  /** Returns the most room within the window. */
  most(name: string): number {
    return Math.max(0, ...(this.changes.get(name) ?? []).map(({ rank }) => rank))
  }
}
