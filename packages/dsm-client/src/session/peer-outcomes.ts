/** What each peer last came to: the reason that a client gives when it finds no leader. */
import { hostAndPort, shortId } from '@quire/net'
import type { Role } from '@quire/protocol'

type Word =
  | { readonly type: 'answered'; readonly role: Role; readonly leader: string }
  | { readonly type: 'refused' | 'unreachable'; readonly reason: string }

/** Addresses of each peer, by PeerId. */
export type KnownPeers = ReadonlyMap<string, Iterable<string>>

export class PeerOutcomes {
  private readonly words = new Map<string, Word>()

  /** It said what it is, and whom it takes for the leader; empty for nobody. */
  answered(peerId: string, role: Role, leader: string): void {
    this.words.set(peerId, { type: 'answered', role, leader })
  }

  refused(peerId: string, error: Error): void {
    this.words.set(peerId, { type: 'refused', reason: reasonOf(error) })
  }

  failed(peerId: string, error: Error): void {
    this.words.set(peerId, { type: 'unreachable', reason: reasonOf(error) })
  }

  /** One line, such as "no leader: 1 of 3 peers answered (candidate); unreachable: …". */
  summary(known: KnownPeers): string {
    const name = (peerId: string): string => nameOf(peerId, known.get(peerId) ?? [])
    const unheard = [...known.keys()].filter((peerId) => !this.words.has(peerId))
    const withReasons = (type: 'refused' | 'unreachable'): string[] =>
      [...this.words].flatMap(([peerId, word]) => (word.type === type ? [`${name(peerId)} (${word.reason})`] : []))
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
    const answers = [...this.words.values()].filter((word) => word.type === 'answered')
    if (answers.length === 0) return 'no peer answered'
    const roles = new Map<Role, number>()
    for (const { role } of answers) roles.set(role, (roles.get(role) ?? 0) + 1)
    const list = [...roles].map(([role, count]) => (count === 1 ? role : `${count} ${role}s`)).join(', ')
    return `${this.subject(answers, name)}: ${answers.length} of ${known.size} peers answered (${list})`
  }

  private subject(answers: readonly { role: Role; leader: string }[], name: (peerId: string) => string): string {
    const leader = answers.map((answer) => answer.leader).find((each) => this.words.get(each)?.type === 'unreachable')
    if (leader !== undefined) return `the leader is ${name(leader)}, which cannot be reached`
    // It may think that it leads, and reaches nobody who would confirm it.
    return answers.some(({ role }) => role === 'leader') ? 'no leader with a majority' : 'no leader'
  }
}

function nameOf(peerId: string, addresses: Iterable<string>): string {
  const places = [...addresses].slice(0, 2).map((address) => hostAndPort(address))
  return places.length === 0 ? shortId(peerId) : `${shortId(peerId)} at ${places.join(' or ')}`
}

/**
 * The system's code where there is one, since the name says the address already; else the error's own reason, without
 * its ids.
 */
function reasonOf(error: Error): string {
  const { reason } = error as { reason?: unknown }
  const text = typeof reason === 'string' ? reason : error.message
  return /\bE[A-Z_]{4,}\b/.exec(text)?.[0] ?? text
}
