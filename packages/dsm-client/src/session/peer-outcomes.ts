/** The last outcome of asking each peer. */
import { hostAndPort, shortId } from '@quire/net'
import { NotAuthorizedError, type Role } from '@quire/protocol'

/** The outcome of the last time that the client asked a peer. */
type PeerOutcome =
  | { readonly type: 'answered'; readonly role: Role; readonly leader: string }
  | { readonly type: 'refused'; readonly reason: string; readonly error: Error }
  | { readonly type: 'unreachable'; readonly reason: string }

/** Addresses by PeerId. */
export type KnownPeers = ReadonlyMap<string, Iterable<string>>

/** Explains why a client has found no leader. */
export class PeerOutcomes {
  private readonly last = new Map<string, PeerOutcome>()

  /** The peer has named its role and the leader; empty: it knows none. */
  answered(peerId: string, role: Role, leader: string): void {
    this.last.set(peerId, { type: 'answered', role, leader })
  }

  refused(peerId: string, error: Error): void {
    this.last.set(peerId, { type: 'refused', reason: reasonOf(error), error })
  }

  failed(peerId: string, error: Error): void {
    this.last.set(peerId, { type: 'unreachable', reason: reasonOf(error) })
  }

  /** The refusal of client `id`, if no peer has answered otherwise. */
  refusalOf(id: string): NotAuthorizedError | undefined {
    const outcomes = [...this.last.values()]
    if (outcomes.some(({ type }) => type === 'answered')) return undefined
    return outcomes
      .map((last) => (last.type === 'refused' ? last.error : undefined))
      .find((error): error is NotAuthorizedError => error instanceof NotAuthorizedError && error.who === id)
  }

  /** One line, such as "no leader: 1 of 3 peers answered (candidate); unreachable: …". */
  summary(known: KnownPeers): string {
    const name = (peerId: string): string => nameOf(peerId, known.get(peerId) ?? [])
    const unheard = [...known.keys()].filter((peerId) => !this.last.has(peerId))
    const withReasons = (type: 'refused' | 'unreachable'): string[] =>
      [...this.last].flatMap(([peerId, last]) => (last.type === type ? [`${name(peerId)} (${last.reason})`] : []))
    const parts: readonly (readonly [title: string, peers: readonly string[]])[] = [
      ['unreachable', withReasons('unreachable')],
      ['refused by', withReasons('refused')],
      ['no answer yet', unheard.map((peerId) => name(peerId))]
    ]
    const rest = parts
      .filter(([, peers]) => peers.length > 0)
      .map(([title, peers]) => `; ${title}: ${peers.join(', ')}`)
    return this.head(known, name) + rest.join('')
  }

  private head(known: KnownPeers, name: (peerId: string) => string): string {
    const answers = [...this.last.values()].filter((last) => last.type === 'answered')
    if (answers.length === 0) return 'no peer answered'
    const roles = new Map<Role, number>()
    for (const { role } of answers) roles.set(role, (roles.get(role) ?? 0) + 1)
    const list = [...roles].map(([role, count]) => (count === 1 ? role : `${count} ${role}s`)).join(', ')
    return `${this.subject(answers, name)}: ${answers.length} of ${known.size} peers answered (${list})`
  }

  private subject(answers: readonly { role: Role; leader: string }[], name: (peerId: string) => string): string {
    const leader = answers.map((answer) => answer.leader).find((each) => this.last.get(each)?.type === 'unreachable')
    if (leader !== undefined) return `the leader is ${name(leader)}, which cannot be reached`
    // The peer may believe that it leads, without a majority to confirm it.
    return answers.some(({ role }) => role === 'leader') ? 'no leader with a majority' : 'no leader'
  }
}

function nameOf(peerId: string, addresses: Iterable<string>): string {
  const places = [...addresses].slice(0, 2).map((address) => hostAndPort(address))
  return places.length === 0 ? shortId(peerId) : `${shortId(peerId)} at ${places.join(' or ')}`
}

/**
 * Returns the system's error code if there is one, because the peer's name contains the address; otherwise the reason.
 */
function reasonOf(error: Error): string {
  const { reason } = error as { reason?: unknown }
  const text = typeof reason === 'string' ? reason : error.message
  return /\bE[A-Z_]{4,}\b/.exec(text)?.[0] ?? text
}
