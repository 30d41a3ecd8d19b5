/** The operator of a run: asks peers for their state, and changes the cluster. */
import { askLeader, createProbe, type Probe, type StatusAnswer } from '@quire/cli/internal'
import { createClock, type PrivateKey } from '@quire/net'
import type { AdminChange, LeaderMessageOf, Member } from '@quire/protocol'
import type { Peer } from './peer.js'
import { until } from './until.js'

const STATUS_MS = 1_500
const CHANGE_MS = 20_000
const QUESTION_MS = 5_000
const ELECTION_MS = 10_000
const HEALTHY_MS = 60_000

type Redirect = LeaderMessageOf<'redirect'>

export class Operator<P extends Peer = Peer> implements AsyncDisposable {
  private constructor(
    private readonly probe: Probe,
    /** The peers that the cluster may have. */
    private readonly peers: () => readonly P[]
  ) {}

  /** Without an admin's key, it cannot change the cluster. */
  static async start<P extends Peer>(key: PrivateKey | undefined, peers: () => readonly P[]): Promise<Operator<P>> {
    return new Operator(await createProbe(key), peers)
  }

  /** The state of each peer that answers. */
  async statuses(): Promise<ReadonlyMap<P, StatusAnswer>> {
    const asked = this.peers().map(async (peer) => {
      const status = await this.status(peer)
      return status === undefined ? [] : ([[peer, status]] as const)
    })
    return new Map((await Promise.all(asked)).flat())
  }

  /** Undefined if the peer does not answer. */
  async status({ member }: Peer): Promise<StatusAnswer | undefined> {
    const answered = await this.probe.status(member.peerId, member.addresses, STATUS_MS).catch(() => undefined)
    return answered?.answer
  }

  /** The leader at present. */
  async leaderNow(): Promise<P | undefined> {
    return leaderOf(await this.statuses())
  }

  /** The leader, or undefined if there is none within ten seconds. */
  async leader(): Promise<P | undefined> {
    let leader: P | undefined
    const find = async (): Promise<boolean> => (leader = await this.leaderNow()) !== undefined
    await until(find, () => 'a leader', ELECTION_MS).catch(() => {})
    return leader
  }

  /** Resolves when all voters follow a leader and none is missing. */
  async healthy(mayLastMs = HEALTHY_MS): Promise<void> {
    await until(
      () => this.isHealthy(),
      () => 'all voters to follow a leader',
      mayLastMs
    )
  }

  /** The entries that the leader's log has; undefined without a leader that can say it. */
  async log(): Promise<{ readonly first: number; readonly last: number } | undefined> {
    const all = await this.statuses()
    const leader = leaderOf(all)
    const status = leader && all.get(leader)
    return status?.store && { first: status.store.firstIndex, last: status.lastIndex }
  }

  /** Whether all voters answer and follow one leader, and there is no learner. */
  private async isHealthy(): Promise<boolean> {
    const statuses = [...(await this.statuses()).values()]
    const leader = statuses.find(({ role }) => role === 'leader')
    if (leader === undefined || leader.learners.length > 0) return false
    return statuses.filter((each) => follows(each, leader)).length === leader.voters.length
  }

  roster(): Promise<LeaderMessageOf<'roster'>> {
    return this.ask((to, timeoutMs) => this.probe.roster(to, timeoutMs))
  }

  /** Makes a change of the cluster. Rejects with the refusal, and if no leader answers in time. */
  async change(change: AdminChange): Promise<void> {
    await this.ask((to, timeoutMs) => this.probe.administer(to, '', change, timeoutMs))
  }

  /** Repeats the change until it succeeds: there may be no leader, or another change. */
  async insist(change: AdminChange, mayLastMs: number): Promise<void> {
    let last = ''
    const tryIt = (): Promise<boolean> =>
      this.change(change).then(
        () => true,
        (error: unknown) => {
          last = (error as Error).message
          return false
        }
      )
    await until(tryIt, () => `${change.type}: ${last}`, mayLastMs)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.probe.close()
  }

  private ask<A extends LeaderMessageOf<'roster' | 'administered'>>(
    question: (to: Member, timeoutMs: number) => Promise<A | Redirect>
  ): Promise<A> {
    const given = this.peers().map(({ member }) => member)
    return askLeader(given, createClock(), CHANGE_MS, async (to, timeoutMs) => {
      const answer = await question(to, Math.min(timeoutMs, QUESTION_MS))
      return answer.type === 'redirect' ? answer : { result: answer }
    })
  }
}

/** The leader, as itself and a majority of its voters say. */
function leaderOf<P>(statuses: ReadonlyMap<P, StatusAnswer>): P | undefined {
  const all = [...statuses]
  const [found] = all.filter(([, { role }]) => role === 'leader').toSorted(([, a], [, b]) => b.term - a.term)
  if (found === undefined) return undefined
  const [peer, leader] = found
  const following = all.filter(([, each]) => follows(each, leader))
  return following.length * 2 > leader.voters.length ? peer : undefined
}

/** Whether the peer is a voter of the leader's configuration and follows that leader. The leader follows itself. */
function follows(peer: StatusAnswer, { id, term, voters }: StatusAnswer): boolean {
  return peer.term === term && peer.leader === id && voters.some(({ peerId }) => peerId === peer.id)
}
