/** The cluster of a run, as far as every cluster offers it: the run's own one, and that of a user. */
import type { Operator } from './operator.js'
import type { Killable, Peer, Stoppable } from './peer.js'

export interface Cluster<P extends Peer = Peer> extends AsyncDisposable {
  readonly members: readonly P[]
  readonly killable: readonly Killable[]
  readonly stoppable: readonly Stoppable[]
  /** The multiaddrs of all members. */
  readonly addresses: readonly string[]
  readonly operator: Operator<P>
  /** Ends what the run has done to the cluster: all peers run, and all lines are whole. */
  heal(): Promise<void>
  /** What the peers have logged, and how often, as far as the run can tell. */
  logged(): readonly (readonly [what: string, count: number])[]
  /** What no peer may ever log, and some have, with how often. */
  complaints(): readonly (readonly [what: string, count: number])[]
}
