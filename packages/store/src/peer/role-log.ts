import type { RaftStatus } from '@quire/raft'
import type { Logger } from 'pino'

/** Logs each new leader that this peer follows, once for each term. `GroupServer` logs that this peer leads. */
export class RoleLog {
  private term = 0
  private leader: string | undefined

  constructor(
    private readonly logger: Logger | undefined,
    private readonly self: string
  ) {}

  changed({ term, leader }: Pick<RaftStatus, 'term' | 'leader'>): void {
    if (term === this.term && leader === this.leader) return
    this.term = term
    this.leader = leader
    if (leader === undefined) this.logger?.info({ term }, 'no leader is known')
    else if (leader !== this.self) this.logger?.info({ leader, term }, 'following the leader')
  }
}
