/** The ways of a client to the peers of its cluster. */

/**
 * Remembers which peers answer the client directly.
 *
 * A client uses a relay only for a leader whose own addresses do not answer, and only a relay that answers itself.
 */
export class Routes {
  /** Whether the peer answered when the client last tried it directly. The latest change is the last. */
  private readonly answers = new Map<string, boolean>()

  /** The peer has answered directly. */
  reached(peerId: string): void {
    if (this.answers.get(peerId) === true) return
    this.answers.delete(peerId)
    this.answers.set(peerId, true)
  }

  /** The peer has not answered, or a connection to it has failed. As a relay, it comes last once it answers again. */
  missed(peerId: string): void {
    this.answers.set(peerId, false)
  }

  /** The peers through which to try the leader; none while its own addresses may answer. */
  relaysTo(leader: string): string[] {
    if (this.answers.get(leader) !== false) return []
    return [...this.answers].flatMap(([peerId, answers]) => (answers && peerId !== leader ? [peerId] : []))
  }
}
