import { NotAuthorizedError, refuseVersion, type RefusalReason } from '@quire/protocol'
import { memberId, type ReplicatedConfig } from '../state/index.js'
import type { IntroductionRefusal } from './identity.js'
import type { JoinMessage } from './peer-links.js'
import { rejoinOption } from './rejoining.js'

/** The reason why a peer may not join (docs/membership.md, Joining); undefined if a leader decides. It is pure. */
export function joinRefusal(
  config: ReplicatedConfig,
  remote: string,
  request: JoinMessage
): IntroductionRefusal | undefined {
  const { version, features, clusterId, from, incarnation, rejoins } = request
  const refuse = (reason: RefusalReason, problem: string): IntroductionRefusal => {
    return { error: new NotAuthorizedError(remote, problem), reason, founding: undefined }
  }
  const wrongVersion = refuseVersion(version, features)
  if (wrongVersion !== undefined) return { error: wrongVersion, reason: 'version', founding: undefined }
  if (clusterId !== '' && clusterId !== config.clusterId)
    return refuse('founding', `it belongs to cluster ${clusterId}`)
  if (from !== remote) return refuse('membership', `it claims to be ${from}`)
  if (config.invited.some(({ peerId }) => peerId === remote)) return undefined
  const own = config.members.filter(({ peerId }) => peerId === remote)
  if (own.length === 0) return refuse('membership', NOT_INVITED)
  // A founding member has no incarnation in the configuration, and one that only asks names none.
  const hasJoined = incarnation !== '' && own.some((member) => member.incarnation === incarnation)
  if (hasJoined || own.some((member) => memberId(member) === rejoins)) return undefined
  const options = own.map((member) => rejoinOption(memberId(member))).join(' or ')
  return refuse(
    'membership',
    `it is a member with another data directory: start it with that one, or with ${options} if that one is lost`
  )
}

export const NOT_INVITED = 'no admin has invited it (quire members add)'

/** Whether an invitation is all that the peer lacks. */
export function isUninvited(refusal: Error): boolean {
  return refusal instanceof NotAuthorizedError && refusal.reason === NOT_INVITED
}
