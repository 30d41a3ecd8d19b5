import type { Member } from '@quire/protocol'
import type { Connection } from './connection.js'

export interface MemberNewsInit {
  readonly members: () => Member[]
  /** Differs from an earlier value when `members` may. */
  readonly membersVersion: () => number
}

/** Tells the clients of one term the current addresses of the members, which they need before this leader is gone. */
export class MemberNews {
  /** The version of the list that each client was sent last. */
  private readonly told = new WeakMap<Connection, number>()

  constructor(private readonly init: MemberNewsInit) {}

  /** Returns the list for the connection's welcome. */
  welcome(connection: Connection): Member[] {
    this.told.set(connection, this.init.membersVersion())
    return this.init.members()
  }

  /**
   * Sends the list to the registered clients that were sent an older one. A client that does not keep up gets the
   * newest list when it has read everything else.
   */
  update(registered: readonly Connection[]): void {
    const version = this.init.membersVersion()
    const behind = registered.filter(
      (connection) => this.told.get(connection) !== version && connection.control.waitingBytes === 0
    )
    if (behind.length === 0) return
    const message = { type: 'members', members: this.init.members() } as const
    for (const connection of behind) {
      this.told.set(connection, version)
      connection.send('control', message)
    }
  }
}
