/**
 * Decides how a leader changes the members, the admins and the clients of its cluster (docs/membership.md). It is pure:
 * the caller proposes what it decides.
 */
import {
  ChangeRefusedError,
  InvalidArgumentError,
  MAX_CONFIGURATION_BYTES,
  MAX_MEMBERS,
  checkRoundTrip,
  encode,
  type AdminChange,
  type Member
} from '@quire/protocol'
import type { MembershipChange } from '@quire/raft'
import {
  clusterConfig,
  memberId,
  peerIdOf,
  type ConfigMember,
  type Invitation,
  type ReplicatedConfig
} from '../state/index.js'
import { changeAccess } from '../state/access.js'

/** What the leader knows of its Raft group. Members are named by their member ids. */
export interface GroupFacts {
  readonly voters: readonly string[]
  readonly learners: readonly string[]
  /** The member has answered within about an election timeout. True for the leader itself. */
  readonly answers: (member: string) => boolean
  /** The member has every entry that was committed about an election timeout ago. */
  readonly hasCaughtUp: (member: string) => boolean
}

/** A change to propose: the Raft part, and the configuration that results. */
export interface PlannedChange {
  readonly changes: readonly MembershipChange[]
  readonly config: ReplicatedConfig
}

/** A peer with a data directory that asks to join. */
export interface JoinRequest {
  readonly peerId: string
  readonly incarnation: string
  /** The id of the member whose data directory the peer has lost, and whose place it asks for; or empty. */
  readonly rejoins: string
}

type MembersChange = Extract<
  AdminChange,
  { type: 'addMember' | 'promoteMember' | 'removeMember' | 'replaceMember' | 'setRoundTrip' }
>
type AccessChange = Exclude<AdminChange, MembersChange | { type: 'transferLeadership' }>

/**
 * Plans what an admin wants; `by` is the admin's PeerId. Returns undefined if the change is already in force. Throws
 * ChangeRefusedError, and InvalidArgumentError if an id names nothing.
 */
export function planChange(
  config: ReplicatedConfig,
  facts: GroupFacts,
  change: MembersChange | AccessChange,
  by: string
): PlannedChange | undefined {
  const planned = planAny(config, facts, change, by)
  if (planned !== undefined) checkSize(planned.config)
  return planned
}

function planAny(
  config: ReplicatedConfig,
  facts: GroupFacts,
  change: MembersChange | AccessChange,
  by: string
): PlannedChange | undefined {
  switch (change.type) {
    case 'addMember':
      return planAddition(config, facts, change.member, by)
    case 'promoteMember':
      return planPromotion(config, facts, change.id, by)
    case 'removeMember':
      return planRemoval(config, facts, change.id, by)
    case 'replaceMember':
      return planReplacement(config, facts, change, by)
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
  const { peerId, incarnation } = request
  const id = memberId(request)
  if (config.members.some((member) => memberId(member) === id)) return undefined
  const invitation = config.invited.find((invited) => invited.peerId === peerId) ?? ownPlace(config, facts, request)
  const change = `the join of ${peerId}`
  const joining: ConfigMember = { peerId, incarnation, addresses: invitation.addresses }
  // A learner whose directory was lost before it took a place. Learners count for nothing, so it can go at once.
  const stale = config.members
    .filter((member) => member.peerId === peerId)
    .map((member) => memberId(member))
    .filter((each) => each !== invitation.replaces)
  const voter = stale.find((each) => facts.voters.includes(each))
  if (voter !== undefined) throw refused(change, `${voter} is a voter with the same PeerId`)
  if (stale.some((each) => facts.answers(each))) throw refused(change, STILL_THERE)
  const members = sorted([...config.members.filter((member) => !stale.includes(memberId(member))), joining])
  const others = withoutInvitation(config, peerId)
  checkLimit(change, members, others)
  // A replacement is complete when the peer has caught up. Until then, the note stays.
  const invited = invitation.replaces === '' ? others : [...others, invitation]
  const joined = revised({ ...config, members, invited }, peerId, `${id} joins as a learner`)
  checkSize(joined)
  return { changes: [{ type: 'learner', id }, ...removals(stale, facts)], config: joined }
}

/**
 * Plans the next step of a replacement whose new member has caught up; undefined if there is none. `self` leads.
 *
 * First the new member votes in place of the old one. That change is joint: the old voter counts until the cluster
 * leaves the joint configuration, so the others must keep their links to it. It is a member until then, and the second
 * step removes it.
 */
export function planTakeover(config: ReplicatedConfig, facts: GroupFacts, self: string): PlannedChange | undefined {
  for (const invitation of config.invited) {
    const { peerId, replaces } = invitation
    if (replaces === '') continue
    const joined = config.members.find((member) => member.peerId === peerId && memberId(member) !== replaces)
    if (joined === undefined) continue
    const id = memberId(joined)
    const hasReplaced = facts.voters.includes(id) && !facts.voters.includes(replaces)
    if (!hasReplaced && (!facts.hasCaughtUp(id) || !facts.answers(id))) continue
    const others = facts.voters.filter((voter) => voter !== replaces)
    // It may be a voter already, if an admin has promoted it.
    const isNewVoter = facts.voters.includes(replaces) && !others.includes(id)
    if (!hasReplaced && !isServed(isNewVoter ? [...others, id] : others, facts)) continue
    const changes = removals([replaces], facts)
    if (isNewVoter) {
      return {
        changes: [{ type: 'voter', id }, ...changes],
        config: revised(config, self, `${id} replaces ${replaces}`)
      }
    }
    const what = `removes ${replaces}, which ${id} has replaced`
    return { changes, config: revised(withoutMember(config, replaces), self, what) }
  }
  return undefined
}

/** The configuration with another round trip; `by` is the PeerId that asks for it. Throws ChangeRefusedError. */
export function withRoundTrip(config: ReplicatedConfig, roundTripMs: number, by: string): ReplicatedConfig {
  const changed = revised({ ...config, roundTripMs }, by, `sets the round trip to ${roundTripMs} ms`)
  checkSize(changed)
  return changed
}

function planAddition(
  config: ReplicatedConfig,
  facts: GroupFacts,
  member: Member,
  by: string
): PlannedChange | undefined {
  const ids = config.members.filter(({ peerId }) => peerId === member.peerId).map((each) => memberId(each))
  // A learner that does not answer may have lost its directory. With an invitation, it can join with another one.
  if (ids.some((each) => facts.voters.includes(each) || facts.answers(each))) return undefined
  return planInvitation(config, { ...member, replaces: '' }, `the invitation of ${member.peerId}`, by)
}

function planInvitation(
  config: ReplicatedConfig,
  invitation: Invitation,
  change: string,
  by: string
): PlannedChange | undefined {
  const { peerId, addresses, replaces } = invitation
  if (config.admins.includes(peerId) || config.clients?.includes(peerId) === true) {
    throw refused(change, `${peerId} is an admin or a client, and a peer needs a key of its own`)
  }
  const earlier = config.invited.find((each) => each.peerId === peerId)
  if (earlier?.replaces === replaces && isSame(earlier.addresses, addresses)) return undefined
  const invited = [...config.invited.filter((each) => each !== earlier), invitation]
  checkLimit(change, config.members, invited)
  const what = replaces === '' ? `invites ${peerId}` : `invites ${peerId} to replace ${replaces}`
  return { changes: [], config: revised({ ...config, invited }, by, what) }
}

function planPromotion(
  config: ReplicatedConfig,
  facts: GroupFacts,
  named: string,
  by: string
): PlannedChange | undefined {
  // While a voter comes back to its own place, its PeerId means the member that is no voter yet.
  const found = membersNamed(config, named)
  const learners = found.filter((member) => !facts.voters.includes(memberId(member)))
  if (found.length > 0 && learners.length === 0) return undefined
  const id = memberId(onlyOne(learners, named))
  const change = `the promotion of ${id}`
  if (!facts.answers(id)) throw refused(change, 'it does not answer')
  if (!facts.hasCaughtUp(id)) throw refused(change, 'it has not caught up: wait until its lag is gone')
  checkServed(change, [...facts.voters, id], facts)
  // A voter needs no invitation. An admin may have invited the peer once more while it joined.
  const invited = config.invited.filter(({ peerId, replaces }) => replaces !== '' || peerId !== peerIdOf(id))
  return { changes: [{ type: 'voter', id }], config: revised({ ...config, invited }, by, `promotes ${id}`) }
}

function planRemoval(
  config: ReplicatedConfig,
  facts: GroupFacts,
  named: string,
  by: string
): PlannedChange | undefined {
  const ids = membersNamed(config, named).map((member) => memberId(member))
  if (ids.length === 0) {
    const invited = withoutInvitation(config, named)
    if (invited.length === config.invited.length) return undefined
    return { changes: [], config: revised({ ...config, invited }, by, `withdraws the invitation of ${named}`) }
  }
  const all = ids.join(' and ')
  const voters = facts.voters.filter((voter) => !ids.includes(voter))
  if (voters.length === 0) throw refused(`the removal of ${all}`, 'it is the last voter')
  checkServed(`the removal of ${all}`, voters, facts)
  const invited = withoutInvitation(config, peerIdOf(named))
  const without = ids.reduce(withoutMember, { ...config, invited })
  return { changes: removals(ids, facts), config: revised(without, by, `removes ${all}`) }
}

function planReplacement(
  config: ReplicatedConfig,
  facts: GroupFacts,
  { id: named, by }: { readonly id: string; readonly by: Member },
  admin: string
): PlannedChange | undefined {
  const isMember = config.members.some((member) => member.peerId === by.peerId)
  // The replacement is complete.
  const found = membersNamed(config, named)
  if (isMember && found.length === 0) return undefined
  // While a voter comes back to its own place, its PeerId means the voter.
  const old = memberId(found.find((each) => facts.voters.includes(memberId(each))) ?? onlyOne(found, named))
  const change = `the replacement of ${old}`
  const note = config.invited.find((invited) => invited.replaces === old)
  if (note !== undefined && note.peerId !== by.peerId) {
    const joined = config.members.find((member) => member.peerId === note.peerId && memberId(member) !== old)
    const successor = joined === undefined ? note.peerId : memberId(joined)
    throw refused(change, `${successor} is to replace it already: remove that one first`)
  }
  if (note === undefined && isMember && peerIdOf(old) !== by.peerId)
    throw refused(change, `${by.peerId} is a member already`)
  if (note === undefined && peerIdOf(old) === by.peerId && facts.answers(old)) throw refused(change, STILL_THERE)
  return planInvitation(config, { ...by, replaces: old }, change, admin)
}

const STILL_THERE = 'its present data directory answers: stop the peer that uses that one first'

/** The place of a peer that has lost its data directory, which needs no invitation. */
function ownPlace(config: ReplicatedConfig, facts: GroupFacts, { peerId, rejoins }: JoinRequest): Invitation {
  const change = `the join of ${peerId}`
  const lost = config.members.find((member) => member.peerId === peerId && memberId(member) === rejoins)
  if (lost === undefined) throw refused(change, 'no admin has invited it')
  if (facts.answers(rejoins)) throw refused(change, STILL_THERE)
  return { peerId, addresses: lost.addresses, replaces: rejoins }
}

// -- names

/**
 * The members that a PeerId or a member id names. A PeerId names all members of the peer: there may be two while it
 * takes the place of its own lost directory. It is also the member id of a founder.
 */
function membersNamed(config: ReplicatedConfig, named: string): ConfigMember[] {
  return config.members.filter((member) => member.peerId === named || memberId(member) === named)
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

/** The configuration after the removal of a member. A peer that was to replace it joins like any other. */
function withoutMember(config: ReplicatedConfig, id: string): ReplicatedConfig {
  const members = config.members.filter((member) => memberId(member) !== id)
  const invited = config.invited.flatMap((each) => {
    if (each.replaces !== id) return [each]
    return members.some(({ peerId }) => peerId === each.peerId) ? [] : [{ ...each, replaces: '' }]
  })
  return { ...config, members, invited }
}

function withoutInvitation({ invited }: ReplicatedConfig, named: string): Invitation[] {
  return invited.filter(({ peerId }) => peerId !== named)
}

function checkLimit(change: string, members: readonly ConfigMember[], invited: readonly Invitation[]): void {
  if (members.length + invited.length > MAX_MEMBERS)
    throw refused(change, `${MAX_MEMBERS} members and invited peers are the limit`)
}

/** Peers send a configuration to each other as a whole, so it must fit their messages. */
function checkSize(config: ReplicatedConfig): void {
  const { length } = encode(clusterConfig, config)
  if (length <= MAX_CONFIGURATION_BYTES) return
  throw refused(`a configuration of ${length} bytes`, `${MAX_CONFIGURATION_BYTES} bytes are the limit`)
}

function sorted(members: readonly ConfigMember[]): ConfigMember[] {
  return members.toSorted((a, b) => (memberId(a) < memberId(b) ? -1 : 1))
}

function isSame(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((each, at) => each === b[at])
}
