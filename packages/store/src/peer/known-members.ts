import { MAX_MEMBERS, type RaftIntroduction } from '@quire/protocol'
import type { ConfigMember, ReplicatedConfig } from '../state/commands.js'
import { memberId } from '../state/member-id.js'
import { memberOf } from './evidence.js'

export interface KnownMembersInit {
  /** The member id of this peer. */
  readonly self: string
  /** The ids of the members about which this peer keeps evidence. */
  readonly remembered: () => Iterable<string>
}

/**
 * Knows the members with which this peer links (docs/membership.md, A peer that is behind).
 *
 * These are the members of the applied configuration, and those that other members tell of. What others tell may be
 * forged, so it only adds members. All methods that take such a configuration return why they refuse it, or undefined.
 */
export class KnownMembers {
  private config: ReplicatedConfig | undefined
  /** The newest configuration that each peer has told, by PeerId. All are newer than the applied one. */
  private readonly told = new Map<string, ReplicatedConfig>()
  private members: ReadonlyMap<string, ConfigMember> = new Map()
  private memberIds: ReadonlySet<string> = new Set()

  constructor(private readonly init: KnownMembersInit) {}

  /** The newest configuration that was applied, or with which the peer has started. */
  get applied(): ReplicatedConfig | undefined {
    return this.config
  }

  get revision(): number {
    return this.config?.revision ?? 0
  }

  /** The ids of all members; another set when they change. */
  get ids(): ReadonlySet<string> {
    return this.memberIds
  }

  /** The members that only other peers tell of. */
  get onlyTold(): ConfigMember[] {
    const applied = new Set(this.config?.members.map((member) => memberId(member)))
    return [...this.members].filter(([id]) => !applied.has(id)).map(([, member]) => member)
  }

  /** A configuration was applied. It counts whatever others have told. */
  apply(config: ReplicatedConfig): void {
    this.config = config
    for (const [teller, { revision }] of this.told) if (revision <= config.revision) this.told.delete(teller)
    this.update()
  }

  /** A member tells its configuration through a link. */
  tell(teller: string, config: ReplicatedConfig): string | undefined {
    if (config.clusterId !== this.config?.clusterId) return `is one of cluster ${config.clusterId}`
    if (config.revision <= this.revision) return undefined
    // The bound includes evidence, because an applied configuration alone clears that.
    const all = new Set([...this.memberIds, ...this.init.remembered(), ...idsOf(config)])
    if (all.size > MAX_MEMBERS) return `would make this peer know ${all.size} members, more than ${MAX_MEMBERS}`
    this.told.set(teller, config)
    this.update()
    return undefined
  }

  /** A peer shows its configuration, because this peer has refused its introduction as `behind`. */
  show(introduction: RaftIntroduction, config: ReplicatedConfig): string | undefined {
    const { from, revision } = introduction
    if (config.revision < revision) return `has revision ${config.revision}, but its hello named ${revision}`
    const ids = idsOf(config)
    if (!ids.includes(memberOf(introduction))) return 'does not name its data directory as a member'
    if (!ids.includes(this.init.self)) return 'does not name the data directory of this peer as a member'
    return this.tell(from, config)
  }

  private update(): void {
    const { config, told } = this
    const members = new Map(config?.members.map((member) => [memberId(member), member]))
    const peerIds = new Set<string>()
    // The loop also visits the members that it adds, which may have told of others.
    for (const { peerId } of members.values()) {
      peerIds.add(peerId)
      for (const member of told.get(peerId)?.members ?? []) {
        const id = memberId(member)
        // An applied configuration may reach the limit together with what was told before.
        if (members.size < MAX_MEMBERS && !members.has(id)) members.set(id, member)
      }
    }
    for (const teller of told.keys()) if (!peerIds.has(teller)) told.delete(teller)
    this.members = members
    this.memberIds = new Set(members.keys())
  }
}

function idsOf({ members }: ReplicatedConfig): string[] {
  return members.map((member) => memberId(member))
}
