import type { AdminChange } from '@quire/protocol'
import type { RandomSource } from '@quire/testing'
import type { Coverage } from '../coverage.js'
import { Violation } from '../violation.js'
import { ADMIN_IDS } from './ids.js'
import type { SimPeer } from './peers.js'
import type { Outcome, SimAdmin } from './sim-admin.js'

interface AccessOperatorInit {
  readonly coverage: Coverage
  readonly clients: readonly { readonly id: string }[]
  readonly leader: () => SimPeer | undefined
  /** Asks for a change as the admin until a leader has decided or the operator stops. */
  readonly change: (change: AdminChange) => Promise<Outcome>
  /** Becomes an admin for a while. */
  readonly helper: SimAdmin
  readonly sleep: (ms: number) => Promise<void>
  readonly isStopped: () => boolean
  /** The time to live of sessions. */
  readonly ttlMs: number
  readonly roundTripMs: number
}

/** Denies clients for a while, and changes the admins. */
export class AccessOperator {
  /** While true, there may be a second admin. */
  private isHelped = false
  /** Attempts to remove the only admin that are under way. */
  private challenges = 0

  constructor(private readonly init: AccessOperatorInit) {}

  /** Whether the cluster has had one admin for good. */
  get hasOneAdmin(): boolean {
    return !this.isHelped
  }

  /** Adds no other admin until `attempt` is over. */
  async withOneAdmin<T>(attempt: () => Promise<T>): Promise<T> {
    this.challenges++
    try {
      return await attempt()
    } finally {
      this.challenges--
    }
  }

  /** Keeps a client out for less than its lease, or for longer. */
  async denyClient(random: RandomSource): Promise<void> {
    const { clients, change, sleep, ttlMs, coverage } = this.init
    const { id } = random.pick(clients)
    const outcome = await change({ type: 'denyClient', id })
    if (outcome.type === 'done') coverage.add('clients denied')
    await sleep(random.exponential(2 * ttlMs))
    await change({ type: 'allowClient', id })
  }

  /** An identity may change the cluster while it is an admin, and not before or after. */
  async changeAdmins(): Promise<void> {
    if (this.isHelped || this.challenges > 0) return
    const { change, coverage, isStopped } = this.init
    this.isHelped = true
    const id = ADMIN_IDS[1]
    const added = await change({ type: 'addAdmin', id })
    if (added.type === 'done') {
      const outcome = await this.help()
      if (isNotAuthorized(outcome)) throw new Violation('an admin may change the cluster', id)
      if (outcome.type !== 'unknown') coverage.add('changes by another admin')
    }
    const removed = await change({ type: 'removeAdmin', id })
    if (removed.type !== 'done') return
    const outcome = await this.help()
    if (outcome.type === 'unknown' && isStopped()) return
    if (!isNotAuthorized(outcome)) throw new Violation('a former admin may change nothing', JSON.stringify(outcome))
    coverage.add('former admins refused')
    this.isHelped = false
  }

  private help(): Promise<Outcome> {
    const { helper, roundTripMs, isStopped } = this.init
    return helper.change({ type: 'setRoundTrip', roundTripMs }, () => !isStopped())
  }

  /**
   * The next step at the end of a seed: the sessions of denied clients end, because nobody renews them, and then the
   * clients are let in again. Undefined if there is nothing to do.
   */
  nextStep(denied: readonly string[]): AdminChange | 'wait' | undefined {
    const sessions = [...(this.init.leader()?.core?.root.replica.applier.state.sessions() ?? [])]
    for (const id of denied) {
      if (sessions.some(({ clientId }) => clientId === id)) return 'wait'
      return { type: 'allowClient', id }
    }
    return undefined
  }
}

function isNotAuthorized(outcome: Outcome): boolean {
  return outcome.type === 'refused' && outcome.error.name === 'NotAuthorizedError'
}
