/**
 * Decides how a leader changes the members, the admins and the clients of its cluster (docs/membership.md). It is pure:
 * the caller proposes what it decides.
 */
import {
  ChangeRefusedError,
  InvalidArgumentError,
  MAX_MEMBERS,
  checkRoundTrip,
  type AdminChange,
  type Member
} from '@quire/protocol'
import type { MembershipChange } from '@quire/raft'
import { memberId, type ConfigMember, type Invitation, type ReplicatedConfig } from '../state/index.js'
import { changeAccess } from '../state/access.js'

/** What the leader knows of its Raft group. Members are named by their member ids. */
export interface GroupFacts {
  readonly voters: readonly string[]
  readonly learners: readonly string[]
  /** The member has answered within about an election timeout. True for the leader itself. */
  answers(member: string): boolean
  /** The member has every entry that was committed about an election timeout ago. */
  hasCaughtUp(member: string): boolean
}

/** A change to propose: the Raft part, and the configuration that results. */
export interface PlannedChange {
  readonly changes: readonly MembershipChange[]
  readonly config: ReplicatedConfig
}

/** A peer with a data directory that asks to join. */
export interface JoinRequest extends Member {
  readonly incarnation: string
  /** The peer has lost the data directory with which it is a member, and asks for its own place. */
  readonly rejoins: boolean
}

type MembersChange = Extract<
  AdminChange,
  { type: 'addMember' | 'promoteMember' | 'removeMember' | 'replaceMember' | 'setRoundTrip' }
>
type AccessChange = Exclude<AdminChange, MembersChange | { type: 'transferLeadership' }>

/**
 * Plans what an admin wants; `by` is the admin's PeerId. Returns undefined if it is so already. Throws
 * ChangeRefusedError, and InvalidArgumentError if an id names nothing.
 */
export function planChange(
  config: ReplicatedConfig,
  facts: GroupFacts,
  change: MembersChange | AccessChange,
  by: string
): PlannedChange | undefined {
  switch (change.type) {
    case 'addMember':
      return planInvitation(config, { ...change.member, replaces: '' }, by)
    case 'promoteMember':
      return planPromotion(config, facts, change.id, by)
    case 'removeMember':
      return planRemoval(config, facts, change.id, by)
    case 'replaceMember':
      return planReplacement(config, change.id, change.by, by)
    case 'setRoundTrip': {
      const { roundTripMs } = change
      checkRoundTrip(roundTripMs, 'roundTripMs')
      if (roundTripMs === config.roundTripMs) return undefined
      return { changes: [], config: withRoundTrip(config, roundTripMs, by) }
    }
    default: {
      const changed = changeAccess(config, change)
      return changed && { changes: [], config: revised(changed.config, by, changed.what) }
    }
  }
}

/**
 * Plans the admission of a peer that asks to join. Returns undefined if it is a member already. Throws
 * ChangeRefusedError.
 */
export function planJoin(config: ReplicatedConfig, facts: GroupFacts, request: JoinRequest): PlannedChange | undefined {
  const { peerId, incarnation, addresses } = request
  const joining: ConfigMember = { peerId, incarnation, addresses }
  const id = memberId(joining)
  if (config.members.some((member) => memberId(member) === id)) return undefined
  const invitation = config.invited.find((invited) => invited.peerId === peerId) ?? ownPlace(config, facts, request)
  // A learner whose directory was lost before it took a place. Learners count for nothing, so it can go at once.
  const stale = config.members.filter((member) => member.peerId === peerId && memberId(member) !== invitation.replaces)
  const voter = stale.find((member) => facts.voters.includes(memberId(member)))
  if (voter !== undefined) throw refused(`the join of ${peerId}`, `${memberId(voter)} is a voter with the same PeerId`)
  const ids = stale.map((member) => memberId(member))
  const others = config.invited.filter((invited) => invited.peerId !== peerId)
  return {
    changes: [{ type: 'learner', id }, ...removals(ids, facts)],
    config: revised(
      {
        ...config,
        members: sorted([...config.members.filter((member) => !stale.includes(member)), joining]),
        // A replacement is complete when the peer has caught up. Until then, the note stays.
        invited: invitation.replaces === '' ? others : [...others, invitation]
      },
      peerId,
      `${id} joins as a learner`
    )
  }
}

/** Plans the end of a replacement whose new member has caught up; undefined while there is none. `self` is the leader. */
export function planTakeover(config: ReplicatedConfig, facts: GroupFacts, self: string): PlannedChange | undefined {
  for (const invitation of config.invited) {
    const { peerId, replaces } = invitation
    if (replaces === '') continue
    const joined = config.members.find((member) => member.peerId === peerId && memberId(member) !== replaces)
    if (joined === undefined) continue
    const id = memberId(joined)
    if (!facts.hasCaughtUp(id) || !facts.answers(id)) continue
    const votes = facts.voters.includes(replaces)
    const voters = [...facts.voters.filter((voter) => voter !== replaces), ...(votes ? [id] : [])]
    if (!isServed(voters, facts)) continue
    return {
      changes: [...(votes ? [{ type: 'voter', id } as const] : []), ...removals([replaces], facts)],
      config: revised(
        {
          ...config,
          members: config.members.filter((member) => memberId(member) !== replaces),
          invited: config.invited.filter((each) => each !== invitation)
        },
        self,
        `${id} replaces ${replaces}`
      )
    }
  }
  return undefined
}

/** The configuration with another round trip; `by` is the PeerId that asks for it. */
export function withRoundTrip(config: ReplicatedConfig, roundTripMs: number, by: string): ReplicatedConfig {
  return revised({ ...config, roundTripMs }, by, `sets the round trip to ${roundTripMs} ms`)
}

function planInvitation(config: ReplicatedConfig, invitation: Invitation, by: string): PlannedChange | undefined {
  const { peerId, addresses, replaces } = invitation
  const change = replaces === '' ? `the invitation of ${peerId}` : `the replacement of ${replaces}`
  if (config.admins.includes(peerId) || config.clients?.includes(peerId) === true) {
    throw refused(change, `${peerId} is an admin or a client, and a peer needs a key of its own`)
  }
  const earlier = config.invited.find((each) => each.peerId === peerId)
  if (earlier?.replaces === replaces && isSame(earlier.addresses, addresses)) return undefined
  const invited = [...config.invited.filter((each) => each !== earlier), invitation]
  if (config.members.length + invited.length > MAX_MEMBERS)
    throw refused(change, `${MAX_MEMBERS} members are the limit`)
  const what = replaces === '' ? `invites ${peerId}` : `invites ${peerId} to replace ${replaces}`
  return { changes: [], config: revised({ ...config, invited }, by, what) }
}

function planPromotion(
  config: ReplicatedConfig,
  facts: GroupFacts,
  named: string,
  by: string
): PlannedChange | undefined {
  const id = memberId(memberNamed(config, named))
  if (facts.voters.includes(id)) return undefined
  const change = `the promotion of ${id}`
  if (!facts.answers(id)) throw refused(change, 'it does not answer')
  if (!facts.hasCaughtUp(id)) throw refused(change, 'it has not caught up: wait until its lag is gone')
  checkServed(change, [...facts.voters, id], facts)
  return { changes: [{ type: 'voter', id }], config: revised(config, by, `promotes ${id}`) }
}

function planRemoval(
  config: ReplicatedConfig,
  facts: GroupFacts,
  named: string,
  by: string
): PlannedChange | undefined {
  const invited = config.invited.filter(({ peerId }) => peerId !== named)
  const found = membersNamed(config, named)
  if (found.length === 0 && invited.length === config.invited.length) return undefined
  if (found.length === 0) return { changes: [], config: revised({ ...config, invited }, by, `withdraws ${named}`) }
  const id = memberId(onlyOne(found, named))
  const voters = facts.voters.filter((voter) => voter !== id)
  if (voters.length === 0) throw refused(`the removal of ${id}`, 'it is the last voter')
  checkServed(`the removal of ${id}`, voters, facts)
  return {
    changes: removals([id], facts),
    config: revised(
      {
        ...config,
        members: config.members.filter((member) => memberId(member) !== id),
        // Who was to replace it joins as any other peer.
        invited: invited.map((each) => (each.replaces === id ? { ...each, replaces: '' } : each))
      },
      by,
      `removes ${id}`
    )
  }
}

function planReplacement(
  config: ReplicatedConfig,
  named: string,
  by: Member,
  admin: string
): PlannedChange | undefined {
  const old = memberId(memberNamed(config, named))
  const other = config.members.find((member) => member.peerId === by.peerId && memberId(member) !== old)
  if (other !== undefined) throw refused(`the replacement of ${old}`, `${by.peerId} is a member already`)
  return planInvitation(config, { ...by, replaces: old }, admin)
}

/** The place of a peer that has lost its data directory, which needs no invitation. */
function ownPlace(
  config: ReplicatedConfig,
  facts: GroupFacts,
  { peerId, addresses, rejoins }: JoinRequest
): Invitation {
  const own = rejoins ? config.members.filter((member) => member.peerId === peerId) : []
  const change = `the join of ${peerId}`
  const [only] = own
  if (only === undefined) throw refused(change, 'no admin has invited it')
  const id = memberId(own.find((member) => facts.voters.includes(memberId(member))) ?? only)
  if (facts.answers(id)) throw refused(change, `its present data directory answers: is a copy of it running?`)
  return { peerId, addresses, replaces: id }
}

// -- names

/** The members that a PeerId or a member id names. While a replacement runs, two may have one PeerId. */
function membersNamed(config: ReplicatedConfig, named: string): ConfigMember[] {
  const exact = config.members.filter((member) => memberId(member) === named)
  return exact.length > 0 ? exact : config.members.filter(({ peerId }) => peerId === named)
}

function memberNamed(config: ReplicatedConfig, named: string): ConfigMember {
  return onlyOne(membersNamed(config, named), named)
}

function onlyOne(found: readonly ConfigMember[], named: string): ConfigMember {
  const [only, other] = found
  if (only === undefined) throw new InvalidArgumentError('member', named, 'a member of the cluster')
  if (other !== undefined) {
    const ids = found.map((member) => memberId(member)).join(' and ')
    throw new InvalidArgumentError('member', named, `one member: ${ids} have this PeerId`)
  }
  return only
}

// -- majorities

/** Whether the voters that answer form a majority, so that the change can be committed and the cluster goes on. */
function isServed(voters: readonly string[], facts: GroupFacts): boolean {
  return 2 * voters.filter((voter) => facts.answers(voter)).length > voters.length
}

function checkServed(change: string, voters: readonly string[], facts: GroupFacts): void {
  if (isServed(voters, facts)) return
  const answering = voters.filter((voter) => facts.answers(voter)).length
  throw refused(
    change,
    `only ${answering} of the ${voters.length} voters that would remain answer, which is no majority`
  )
}

/** The removals of those ids that the Raft configuration has. */
function removals(ids: readonly string[], { voters, learners }: GroupFacts): MembershipChange[] {
  return ids.filter((id) => voters.includes(id) || learners.includes(id)).map((id) => ({ type: 'removed', id }))
}

// -- configurations

function revised(config: ReplicatedConfig, by: string, what: string): ReplicatedConfig {
  return { ...config, revision: config.revision + 1, change: { by, what } }
}

function refused(change: string, reason: string): ChangeRefusedError {
  return new ChangeRefusedError(change, reason)
}

function sorted(members: readonly ConfigMember[]): ConfigMember[] {
  return members.toSorted((a, b) => (memberId(a) < memberId(b) ? -1 : 1))
}

function isSame(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((each, at) => each === b[at])
}
