/** Asks all peers of a cluster about themselves, and concludes whether the cluster serves. */
import { InvalidArgumentError, NotAuthorizedError, type Member } from '@quire/protocol'
import { hostAndPort, parsePeerAddress, shortId, shortenIds } from '@quire/net'
import type { Answered, StatusAnswer } from './probe.js'

/** One peer: its answer, or why there is none. */
export interface PeerReport {
  readonly id: string
  /** The first one is where the peer answered, if it did. */
  readonly addresses: readonly string[]
  readonly answer?: StatusAnswer
  /** Set if the peer answered but belongs to another cluster. */
  readonly foreign?: Pick<StatusAnswer, 'clusterId' | 'founding'>
  /** Why the peer gave no answer, in a few words. */
  readonly reason?: string
  readonly error?: Error
}

export interface Survey {
  /** In the order in which the peers became known: those that were given first. */
  readonly peers: readonly PeerReport[]
  /** Empty when no peer answers. */
  readonly clusterId: string
  /** Digest of the configuration that the cluster was founded from; empty when no peer answers. */
  readonly founding: string
  /** The peer of the newest term among those that report that they lead. */
  readonly leader: StatusAnswer | undefined
  /** Voters of the leader's configuration; without a leader, of the most advanced peer's. */
  readonly voters: number
  /** Voters that answer. */
  readonly answering: number
  /** Voters that answer and follow the leader in its term, the leader included. */
  readonly following: number
  /** The PeerIds of voters that have lost their data directory and catch up with a new one. They do not count above. */
  readonly replacing: readonly string[]
  /** Voters that make a majority; 0 if no peer of the cluster answers. */
  readonly quorum: number
  /** Peers that others refuse, by the word of either side. */
  readonly keptOut: readonly KeptOut[]
  /** Why the cluster does not serve; undefined if it serves. */
  readonly problem: string | undefined
}

/** A running peer that takes no part because others refuse it. */
export interface KeptOut {
  readonly id: string
  readonly by: readonly string[]
  readonly reason: string
}

export interface SurveyInit {
  /** Multiaddrs that end in /p2p/<PeerId>. */
  readonly given: readonly string[]
  /** This client's PeerId: no node can dial itself. */
  readonly self: string
  /** Asks one peer. Rejects within `timeoutMs` if the peer does not answer. */
  readonly ask: (id: string, addresses: readonly string[], timeoutMs: number) => Promise<Answered>
  /** Describes an error in a few words. */
  readonly reasonOf: (error: Error) => string
  /** Founding digest of the cluster to survey. Default: that of the first given peer that answers. */
  readonly founding?: string | undefined
  /** Limit for one peer. The whole survey takes at most twice as long, however many peers do not answer. */
  readonly timeoutMs: number
  readonly now: () => number
}

/**
 * Asks the given peers and all peers that they name, concurrently. Rejects with InvalidArgumentError if this client
 * uses the key of a peer.
 */
export async function takeSurvey(init: SurveyInit): Promise<Survey> {
  const round = new Round(init)
  for (const address of init.given) {
    const { peerId } = parsePeerAddress(address, '--peers')
    round.learn({ peerId, addresses: [address] })
  }
  return judge(await round.finish(), init.founding)
}

/** Asks each peer as soon as its address is known. */
class Round {
  private readonly known = new Map<string, Set<string>>()
  private readonly reports = new Map<string, PeerReport>()
  private readonly asked = new Set<string>()
  private asking: Promise<void>[] = []
  private readonly until: number

  constructor(private readonly init: SurveyInit) {
    this.until = init.now() + 2 * init.timeoutMs
  }

  learn({ peerId, addresses }: Member): void {
    const known = this.known.get(peerId) ?? new Set()
    for (const address of addresses) known.add(address)
    this.known.set(peerId, known)
    if (this.asked.has(peerId)) return
    this.asked.add(peerId)
    this.asking.push(this.ask(peerId))
  }

  async finish(): Promise<PeerReport[]> {
    await this.settle()
    // Other peers may have named newer addresses of a peer that did not answer.
    for (const { id, addresses, answer } of this.reports.values()) {
      if (answer === undefined && this.known.get(id)!.size > addresses.length) this.asking.push(this.ask(id))
    }
    await this.settle()
    return [...this.known.keys()].map((id) => this.reports.get(id)!)
  }

  private async settle(): Promise<void> {
    while (this.asking.length > 0) await Promise.all(this.asking.splice(0))
  }

  private async ask(id: string): Promise<void> {
    const { self, ask, reasonOf, timeoutMs, now } = this.init
    if (id === self) throw new InvalidArgumentError('--key', id, "a key of the client's own: this one is a peer's")
    const addresses = [...this.known.get(id)!]
    try {
      const { answer, address } = await ask(id, addresses, Math.max(1, Math.min(timeoutMs, this.until - now())))
      this.reports.set(id, { id, addresses: [...new Set([address, ...addresses])], answer })
      for (const member of [...answer.voters, ...answer.learners]) this.learn(member)
    } catch (error) {
      this.reports.set(id, { id, addresses, error: error as Error, reason: reasonOf(error as Error) })
    }
  }
}

export function judge(reports: readonly PeerReport[], wanted?: string): Survey {
  const all = reports.flatMap(({ answer }) => answer ?? [])
  const { clusterId, founding } = all.find((answer) => wanted === undefined || answer.founding === wanted) ?? {
    clusterId: '',
    founding: wanted ?? ''
  }
  const peers = reports.map((report) => excludeForeign(report, { clusterId, founding }))
  const answers = peers.flatMap(({ answer }) => answer ?? [])
  const leader = newest(answers.filter(({ role }) => role === 'leader'))
  const config = leader ?? newest(answers)
  const ids = (config?.voters ?? []).map(({ peerId }) => peerId)
  const replacing = ids.filter((id) => config!.learners.some(({ peerId }) => peerId === id))
  const isVoter = (id: string): boolean => ids.includes(id) && !replacing.includes(id)
  const electing = peers.filter(({ id }) => isVoter(id))
  const voters = answers.filter(({ id }) => isVoter(id))
  const followers = voters.filter((answer) => leader?.term === answer.term && leader.id === answer.leader)
  const following = followers.length
  const quorum = ids.length === 0 ? 0 : Math.floor(ids.length / 2) + 1
  const counts = { voters: ids.length, answering: voters.length, following, quorum }
  const problem =
    answers.length === 0
      ? problemOfSilence(peers, founding)
      : leader === undefined
        ? problemOfElection(electing, ids.length, quorum)
        : following < quorum
          ? `no quorum: ${following} of ${ids.length} voters follow ${shortId(leader.id)}, ${quorum} are needed`
          : problemOfRoom(followers, leader, counts)
  return { peers, clusterId, founding, leader, ...counts, replacing, keptOut: keptOutOf(answers), problem }
}

/** No peer of the cluster answers. */
function problemOfSilence(peers: readonly PeerReport[], founding: string): string {
  // Its message has this client's whole id, which the operator needs to let it in.
  const refusal = peers.find(({ error }) => error instanceof NotAuthorizedError)
  if (refusal?.error !== undefined) return refusal.error.message
  const others = peers.flatMap(({ foreign }) => foreign ?? [])
  if (others.length === 0) {
    const places = peers.map((peer) => `${placeOf(peer)} (${shortenIds(peer.reason ?? '')})`)
    return `no peer answers; unreachable: ${places.join(', ')}`
  }
  const names = new Set(others.map((other) => `${other.clusterId}, founded as ${other.founding}`))
  const who = others.length === 1 ? '1 peer' : `${others.length} peers`
  const verb = others.length === 1 ? 'does' : 'do'
  const theirs = `${who} of ${names.size === 1 ? 'another cluster' : 'other clusters'} ${verb} (${[...names].join('; ')})`
  return `no peer of the cluster founded as ${founding} answers; ${theirs}`
}

/** Peers of the cluster answer, but none leads. */
function problemOfElection(voters: readonly PeerReport[], count: number, quorum: number): string {
  const answering = voters.flatMap(({ answer }) => answer ?? [])
  const fresh = answering.filter(({ admitted }) => !admitted).length
  const answer = `${answering.length} of ${count} voters answer`
  if (fresh > 0 && fresh === answering.length) return problemOfFirstElection(voters, count)
  if (answering.length < quorum) return `no leader: ${answer}, ${quorum} are needed`
  if (answering.length - fresh >= quorum) return `no leader: ${answer}, none leads`
  const newOnes = fresh === 1 ? '1 is new and takes' : `${fresh} are new and take`
  return `no leader: ${answer}, but ${newOnes} no part yet; ${quorum} are needed`
}

/** All voters that answer are new, as before a cluster's first election. */
function problemOfFirstElection(voters: readonly PeerReport[], count: number): string {
  const missing = voters.filter(({ answer }) => answer === undefined)
  if (missing.length === 0) return `no leader yet: all ${count} voters answer, but not all have met each other`
  const places = missing.map((peer) =>
    peer.foreign === undefined ? `start ${placeOf(peer)}` : `${placeOf(peer)}: ${peer.reason}`
  )
  const answering = count - missing.length
  const verb = answering === 1 ? 'answers' : 'answer'
  return `no leader yet: the first election needs all ${count} voters, ${answering} ${verb} (${places.join('; ')})`
}

function placeOf({ id, addresses }: PeerReport): string {
  return `${shortId(id)} at ${hostAndPort(addresses[0] ?? '')}`
}

/** Groups the refusals by peer and reason, with all peers that give that reason. */
function keptOutOf(answers: readonly StatusAnswer[]): KeptOut[] {
  const found = new Map<string, { readonly id: string; readonly by: Set<string>; readonly reason: string }>()
  for (const answer of answers) {
    for (const { peerId, refusesThisPeer, reason } of answer.quarantined) {
      const [id, by] = refusesThisPeer ? [answer.id, peerId] : [peerId, answer.id]
      const key = JSON.stringify([id, reason])
      const entry = found.get(key) ?? { id, by: new Set<string>(), reason }
      entry.by.add(by)
      found.set(key, entry)
    }
  }
  return [...found.values()].map(({ id, by, reason }) => ({ id, by: [...by], reason }))
}

/** A majority of followers stores nothing if too few of them have room. A leader without room hands over if it can. */
function problemOfRoom(
  followers: readonly StatusAnswer[],
  leader: StatusAnswer,
  { voters, quorum }: Pick<Survey, 'voters' | 'quorum'>
): string | undefined {
  const full = followers.filter(({ id, room }) => room === 'none' || (room === 'little' && id === leader.id))
  const storing = followers.length - full.length
  const where = `no room at ${full.map(({ id }) => shortId(id)).join(', ')}`
  if (storing < quorum)
    return `no writes: ${storing} of ${voters} voters can store them, ${quorum} are needed; ${where}`
  return full.some(({ id }) => id === leader.id) ? `no writes: ${where}, which leads` : undefined
}

function newest(answers: readonly StatusAnswer[]): StatusAnswer | undefined {
  return answers.toSorted((a, b) => b.term - a.term || b.commitIndex - a.commitIndex)[0]
}

/** Digits that tell the founding digests apart that one survey may find. */
const SHORT_DIGEST = 12

/** Clusters may share an id; the founding digest tells them apart. */
function excludeForeign(report: PeerReport, cluster: Pick<Survey, 'clusterId' | 'founding'>): PeerReport {
  const { id, addresses, answer } = report
  if (answer === undefined || answer.founding === cluster.founding) return report
  const { clusterId, founding } = answer
  // The id of the surveyed cluster is unknown if none of its peers answers.
  const isNamesake = cluster.clusterId === '' || clusterId === cluster.clusterId
  const reason = (digest: string): string =>
    `it belongs to cluster ${clusterId}${isNamesake ? `, founded as ${digest}` : ''}`
  const short = `${founding.slice(0, SHORT_DIGEST)}…`
  return {
    id,
    addresses,
    foreign: { clusterId, founding },
    reason: reason(short),
    error: new Error(reason(founding))
  }
}
