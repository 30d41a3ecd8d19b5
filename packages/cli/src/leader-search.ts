/** Finds the leader of a cluster for one question. */
import { UnavailableError, type Clock, type Member } from '@quire/protocol'

/** Sends the asker to the leader. */
export interface Redirection {
  readonly type: 'redirect'
  /** Its PeerId; empty if the peer knows none. */
  readonly leader: string
  readonly members: readonly Member[]
}

const RETRY_MS = 200

/**
 * Asks peer after peer until the leader has answered, or the time is over.
 *
 * An error of the question itself is final. A peer that refuses the asker may be behind and not know a new admin yet,
 * or may run another version. So such an error is final only from the leader, or when all known peers were asked. Other
 * failures lead to the next peer.
 */
export async function askLeader<T>(
  given: readonly Member[],
  clock: Clock,
  timeoutMs: number,
  ask: (to: Member, timeoutMs: number) => Promise<Redirection | { readonly result: T }>
): Promise<T> {
  const known = new Map<string, Set<string>>()
  const learn = ({ peerId, addresses }: Member): void => {
    known.set(peerId, new Set([...(known.get(peerId) ?? []), ...addresses]))
  }
  for (const each of given) learn(each)
  const asked = new Set<string>()
  const until = clock.now() + timeoutMs
  let order = [...known.keys()]
  let leader = ''
  let last: unknown = new UnavailableError('no peer leads')
  while (clock.now() < until) {
    const [peerId, ...others] = order as [string, ...string[]]
    order = [...others, peerId]
    asked.add(peerId)
    try {
      const answer = await ask({ peerId, addresses: [...known.get(peerId)!] }, Math.max(1, until - clock.now()))
      if ('result' in answer) return answer.result
      for (const member of answer.members) learn(member)
      leader = answer.leader
      order = [...new Set([...(known.has(leader) ? [leader] : []), ...order, ...known.keys()])]
      last = new UnavailableError('no peer leads')
      if (leader !== '') continue
    } catch (error) {
      const isLast = peerId === leader || order.every((id) => asked.has(id))
      if (isOfQuestion(error) || (refusesAsker(error) && isLast)) throw error
      last = error
    }
    await new Promise<void>((resolve) => void clock.schedule(RETRY_MS, resolve))
  }
  throw last
}

function isOfQuestion(error: unknown): boolean {
  const { name } = error as Error
  return name === 'ChangeRefusedError' || name === 'InvalidArgumentError'
}

function refusesAsker(error: unknown): boolean {
  const { name } = error as Error
  return name === 'NotAuthorizedError' || name === 'VersionMismatchError'
}
