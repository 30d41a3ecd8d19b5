import { parsePeerId } from '@quire/net'
import {
  ChangeRefusedError,
  InvalidArgumentError,
  NotAuthorizedError,
  QuotaExceededError,
  UnavailableError,
  decode,
  type AdminChange,
  type Clock
} from '@quire/protocol'
import { BackPressureError, ChangePendingError, NotLeaderError, TransferFailedError, type RaftNode } from '@quire/raft'
import type { Logger } from 'pino'
import { ANY_CLIENT } from '../state/access.js'
import { clusterConfig, memberId, peerIdOf, type ReplicatedConfig } from '../state/index.js'
import type { Roster } from '../server/index.js'
import { encodeCluster, normalAddresses } from './cluster.js'
import {
  planChange,
  planJoin,
  planTakeover,
  type GroupFacts,
  type JoinRequest,
  type PlannedChange
} from './membership.js'

export interface AdministrationInit {
  /** This peer's PeerId. */
  readonly self: string
  readonly node: RaftNode
  readonly clock: Clock
  readonly logger: Logger | undefined
}

/** How often a leader looks for a replacement that has caught up. */
const TICK_MS = 1_000
/** How long a change waits for the one before it, and how often it looks. */
const MAX_PENDING_MS = 5_000
const RETRY_MS = 50
const MAX_CHANGES = 16

export const NO_ADMIN = 'it is no admin of the cluster; quire clients list shows the admins'

interface Waiting {
  readonly term: number
  readonly resolve: (index: number) => void
  readonly reject: (error: Error) => void
}

/**
 * Carries out changes of the cluster while this peer leads (docs/membership.md).
 *
 * Each change becomes one entry, and its caller hears when the entry is applied. Without leadership, calls reject with
 * NotLeaderError.
 */
export class Administration {
  /** Callers by the index of their entry. */
  private readonly waiting = new Map<number, Waiting>()
  private running = 0
  private isClosed = false
  private cancelTick: () => void = () => {}

  constructor(private readonly init: AdministrationInit) {
    this.scheduleTick()
  }

  /**
   * Makes a change that the admin `by` wants. Resolves with the index of its entry when that is applied, or with 0 if
   * there is nothing to change. Rejects with NotLeaderError, NotAuthorizedError, ChangeRefusedError,
   * InvalidArgumentError, QuotaExceededError, or UnavailableError if the outcome is unknown.
   */
  async change(by: string, change: AdminChange): Promise<number> {
    this.requireLeadership()
    this.requireAdmin(by)
    return this.limited(async () => {
      if (change.type === 'transferLeadership') return this.transfer(change.id)
      const normal = normalChange(change)
      const plan = (): PlannedChange | undefined => {
        // Another change, for which this one has waited, may have removed the admin.
        this.requireAdmin(by)
        return planChange(this.config, this.facts(), normal, by)
      }
      return this.propose(plan, describe(change))
    })
  }

  /**
   * Lets a peer join as a learner. Resolves when the entry is applied, or the peer is a member already. Rejects as
   * `change` does.
   */
  async join(request: JoinRequest): Promise<void> {
    this.requireLeadership()
    await this.limited(() =>
      this.propose(() => planJoin(this.config, this.facts(), request), `the join of ${request.peerId}`)
    )
  }

  /** The members with their progress, and the invited peers; undefined unless this peer leads. */
  roster(): Roster | undefined {
    const { id, role, voters, learners, outgoing, lastIndex } = this.init.node.status()
    if (role !== 'leader') return undefined
    const followers = this.init.node.followers()
    const self = { matchIndex: lastIndex, answers: true, hasCaughtUp: true }
    const unknown = { matchIndex: 0, answers: false, hasCaughtUp: false }
    const listed = (ids: readonly string[], as: Roster['members'][number]['role']): Roster['members'] =>
      ids.map((each) => ({ id: each, role: as, ...(each === id ? self : (followers.get(each) ?? unknown)) }))
    const leaving = outgoing.filter((each) => !voters.includes(each))
    return {
      lastIndex,
      members: [...listed(voters, 'voter'), ...listed(learners, 'learner'), ...listed(leaving, 'outgoing')],
      invited: this.config.invited.map(({ peerId, replaces }) => ({ peerId, replaces }))
    }
  }

  /** An entry was applied. */
  applied(index: number, term: number): void {
    const waiting = this.waiting.get(index)
    if (waiting === undefined) return
    this.waiting.delete(index)
    if (waiting.term === term) waiting.resolve(index)
    else waiting.reject(new UnavailableError('another leader was elected, and the change was lost'))
  }

  /** The role of the node may have changed. */
  statusChanged(): void {
    if (this.init.node.status().role !== 'leader') this.rejectAll('this peer leads no longer; the change may be lost')
  }

  close(): void {
    this.isClosed = true
    this.cancelTick()
    this.rejectAll('this peer is stopping; the change may be lost')
  }

  /** The newest configuration in the log, which the next change must not undo, even if it is not committed. */
  private get config(): ReplicatedConfig {
    return decode(clusterConfig, this.init.node.context)
  }

  private facts(): GroupFacts {
    const { node } = this.init
    const { id, voters, learners } = node.status()
    const followers = node.followers()
    return {
      voters,
      learners,
      answers: (member) => member === id || followers.get(member)?.answers === true,
      hasCaughtUp: (member) => member === id || followers.get(member)?.hasCaughtUp === true
    }
  }

  private requireLeadership(): void {
    const { id, ready, leader } = this.init.node.status()
    if (!ready) throw new NotLeaderError(id, leader === id ? undefined : leader)
  }

  private requireAdmin(id: string): void {
    if (!this.config.admins.includes(id)) throw new NotAuthorizedError(id, NO_ADMIN)
  }

  private async limited<T>(work: () => Promise<T>): Promise<T> {
    if (this.running >= MAX_CHANGES) throw new QuotaExceededError('changes of the cluster under way', MAX_CHANGES)
    this.running++
    try {
      return await work()
    } finally {
      this.running--
    }
  }

  /** Proposes what `plan` returns, after an earlier change is committed. */
  private async propose(plan: () => PlannedChange | undefined, change: string): Promise<number> {
    const { clock, node } = this.init
    const deadline = clock.now() + MAX_PENDING_MS
    for (;;) {
      this.requireLeadership()
      const planned = plan()
      const isLate = clock.now() >= deadline || this.isClosed
      if (planned === undefined) {
        const { configurationIndex, appliedIndex } = node.status()
        if (configurationIndex <= appliedIndex && (await this.isStill(plan))) return 0
        // It is so in the log, and a later leader may replace the entry.
        if (isLate) throw new UnavailableError(`${change} (entry ${configurationIndex}) is not committed yet`)
      } else {
        try {
          const { index, term } = node.changeMembership(planned.changes, encodeCluster(planned.config))
          return await new Promise((resolve, reject) => this.waiting.set(index, { term, resolve, reject }))
        } catch (error) {
          if (error instanceof BackPressureError) throw new UnavailableError(error.message)
          if (!(error instanceof ChangePendingError)) throw error
          const reason = `an earlier change (entry ${error.index}) is not committed yet`
          if (isLate) throw new ChangeRefusedError(change, reason)
        }
      }
      await new Promise<void>((resolve) => void clock.schedule(RETRY_MS, resolve))
    }
  }

  /**
   * Whether there is still nothing to change once a majority has confirmed that this peer leads: otherwise there may
   * already be a later leader, with another configuration. The configuration here is committed.
   */
  private async isStill(plan: () => PlannedChange | undefined): Promise<boolean> {
    const { node } = this.init
    const { configurationIndex } = node.status()
    try {
      await node.readIndex()
    } catch (error) {
      throw error instanceof BackPressureError ? new UnavailableError(error.message) : error
    }
    return node.status().configurationIndex === configurationIndex && plan() === undefined
  }

  private async transfer(named: string): Promise<number> {
    const { node } = this.init
    const { id, voters } = node.status()
    const meant = voters.filter((voter) => voter === named || peerIdOf(voter) === named)
    const to = meant.find(this.facts().answers) ?? meant[0]
    if (to === id) return 0
    if (named !== '' && to === undefined) {
      const isMember = this.config.members.some((member) => member.peerId === named || memberId(member) === named)
      if (!isMember) throw new InvalidArgumentError('member', named, 'a member of the cluster')
      throw new ChangeRefusedError(describeTransfer(named), 'it is no voter')
    }
    if (voters.every((voter) => voter === id))
      throw new ChangeRefusedError(describeTransfer(named), 'no other peer votes')
    try {
      await node.transferLeadership(to)
    } catch (error) {
      if (error instanceof TransferFailedError) throw new ChangeRefusedError(describeTransfer(named), error.message)
      throw error
    }
    return 0
  }

  /** A configuration was applied. The next step of a replacement may follow at once. */
  configured(): void {
    if (this.isClosed) return
    this.cancelTick()
    this.scheduleTick(0)
  }

  private scheduleTick(delayMs = TICK_MS): void {
    this.cancelTick = this.init.clock.schedule(delayMs, () => {
      this.scheduleTick()
      this.completeReplacement()
    })
  }

  private completeReplacement(): void {
    const { node, self, logger } = this.init
    if (!node.status().ready) return
    const planned = planTakeover(this.config, this.facts(), self)
    if (planned === undefined) return
    try {
      node.changeMembership(planned.changes, encodeCluster(planned.config))
    } catch (error) {
      // The next tick tries again.
      logger?.debug({ err: error }, 'a replacement is not complete yet')
    }
  }

  private rejectAll(reason: string): void {
    for (const { reject } of this.waiting.values()) reject(new UnavailableError(reason))
    this.waiting.clear()
  }
}

/** Checks what an admin names, and returns it in its normal form. Throws InvalidArgumentError. */
function normalChange(change: Exclude<AdminChange, { type: 'transferLeadership' }>): typeof change {
  if (change.type === 'addMember') {
    const { peerId, addresses } = change.member
    return { ...change, member: { peerId, addresses: normalAddresses(peerId, addresses) } }
  }
  if (change.type === 'replaceMember') {
    const { peerId, addresses } = change.by
    return { ...change, by: { peerId, addresses: normalAddresses(peerId, addresses) } }
  }
  if (change.type === 'addAdmin' || change.type === 'removeAdmin')
    return { ...change, id: parsePeerId(change.id, 'admin') }
  if (change.type === 'allowClient' || change.type === 'denyClient') {
    return change.id === ANY_CLIENT ? change : { ...change, id: parsePeerId(change.id, 'client') }
  }
  return change
}

function describe(change: AdminChange): string {
  switch (change.type) {
    case 'addMember':
      return `the invitation of ${change.member.peerId}`
    case 'replaceMember':
      return `the replacement of ${change.id}`
    case 'setRoundTrip':
      return `a round trip of ${change.roundTripMs} ms`
    default:
      return `${change.type} ${change.id}`
  }
}

function describeTransfer(named: string): string {
  return named === '' ? 'the transfer of leadership' : `the transfer of leadership to ${named}`
}
