/** What faults can do to a peer. */
import type { Member } from '@quire/protocol'

export interface Peer {
  readonly name: string
  readonly member: Member
}

/** A peer whose process the run can end and start again. */
export interface Killable extends Peer {
  /** Ends the process without notice. */
  kill(): Promise<void>
  /** Resolves when the peer is reachable. */
  start(): Promise<void>
}

/** A peer whose process the run can stop in its tracks. */
export interface Stoppable extends Peer {
  pause(): Promise<void>
  resume(): Promise<void>
}
