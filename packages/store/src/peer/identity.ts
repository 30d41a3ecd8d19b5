import {
  FEATURES,
  MAX_ADDRESSES,
  MAX_MEMBERS,
  NotAuthorizedError,
  PROTOCOL_VERSION,
  decode,
  encode,
  list,
  member,
  raftSighting,
  refuseVersion,
  struct,
  uint,
  type QuireError,
  type RaftIntroduction,
  type RaftMark,
  type RaftSighting,
  type Random,
  type RefusalReason,
  type TypeOf
} from '@quire/protocol'
import { fromString } from 'uint8arrays/from-string'
import { toString } from 'uint8arrays/to-string'
import { clusterConfig, type ReplicatedConfig } from '../state/commands.js'
import { memberId } from '../state/member-id.js'
import { Admission } from './admission.js'
import { EvidenceBook, NO_MARK, isSameMark } from './evidence.js'
import { foundingDifference, foundingDigest } from './founding.js'
import { LearnedAddresses } from './learned-addresses.js'

/** Stores an identity: a data directory, or the simulator's memory. */
export interface IdentityStorage {
  /**
   * Names this storage among all storages of the peer: the time when it was made, then random digits. A later one sorts
   * after it.
   */
  readonly incarnation: string
  /** The directory joined a cluster that existed; otherwise it is that of a founding voter. */
  readonly joined: boolean
  /** True if this incarnation was admitted, and so takes part in votes. A directory that joined always is. */
  readonly admitted: boolean
  /** Sets `admitted`, durably when it returns. */
  admit(): void
  /** The newest text that `remember` made durable; empty for a new storage. */
  readonly remembered: string
  /** Stores the text, durably when it resolves. Calls during a write share the next one. */
  remember(text: string): Promise<void>
}

export interface PeerIdentityInit {
  /** PeerId as text. */
  readonly id: string
  readonly storage: IdentityStorage
  readonly founding: ReplicatedConfig
  readonly random: Random
  /** The durable term, and the last durable entry of the log. */
  readonly durableMark: () => RaftMark
  /** The durable term, and the last entry that is both durable here and known here to be committed. */
  readonly committedMark: () => RaftMark
}

/**
 * What the configuration says of a remote: its directory is a member, another directory of its PeerId is one, or none.
 * In the second case, the directory may have become a member by a newer configuration, if the remote knows one.
 */
export type Standing = 'member' | 'otherDirectory' | 'maybeNewDirectory' | 'stranger'

/** The reason why an introduction is refused. */
export interface IntroductionRefusal {
  readonly error: QuireError
  readonly reason: RefusalReason
  /** This peer's founding configuration, for a founding voter that has another one. */
  readonly founding: Uint8Array | undefined
}

const memory = struct({
  boot: uint,
  peers: list(raftSighting, 256),
  addresses: list(member, MAX_MEMBERS),
  hints: list(member, MAX_MEMBERS)
})
type Memory = TypeOf<typeof memory>

/** Decodes what an identity remembers: its boot count, evidence and addresses. Throws CodecError. */
export function decodeMemory(remembered: string): Memory {
  if (remembered === '') return { boot: 0, peers: [], addresses: [], hints: [] }
  return decode(memory, fromString(remembered, 'base64'))
}

/** Raises the boot count, durably. Rejects if the storage does, and with CodecError. */
export async function createPeerIdentity(init: PeerIdentityInit): Promise<PeerIdentity> {
  const remembered = decodeMemory(init.storage.remembered)
  const identity = new PeerIdentity(init, { ...remembered, boot: remembered.boot + 1 })
  // Before the first hello; otherwise two processes could use one boot (docs/identity.md).
  await identity.save()
  return identity
}

/**
 * Represents this peer in the handshakes with others (docs/identity.md).
 *
 * It makes this peer's introductions and judges those of other peers.
 */
export class PeerIdentity {
  readonly evidence: EvidenceBook
  /** The addresses that members have announced, also to earlier processes of this peer. */
  readonly learned: LearnedAddresses
  /** The addresses of members that other members have passed on. */
  readonly hinted: LearnedAddresses
  readonly digest: string
  /** The configuration that the cluster was founded from. */
  readonly foundingBytes: Uint8Array
  private readonly admission: Admission
  private readonly process: string
  private savedChanges = -1
  /** This peer's own mark at the last call of `news`. */
  private own = NO_MARK
  private ownChanges = 0
  private readonly boot: number

  constructor(
    private readonly init: PeerIdentityInit,
    { boot, peers, addresses, hints }: Memory
  ) {
    const { id, storage, founding, random } = init
    this.boot = boot
    this.evidence = new EvidenceBook(peers)
    this.learned = new LearnedAddresses(addresses)
    this.hinted = new LearnedAddresses(hints)
    this.digest = foundingDigest(founding)
    this.foundingBytes = encode(clusterConfig, founding)
    const founders = founding.members.map(({ peerId }) => peerId)
    this.admission = new Admission(id, founders, storage.admitted)
    this.process = Array.from({ length: 4 }, () => hex16(random.next())).join('')
    this.takePart()
  }

  get clusterId(): string {
    return this.init.founding.clusterId
  }

  get incarnation(): string {
    return this.init.storage.incarnation
  }

  get isAdmitted(): boolean {
    return this.init.storage.admitted
  }

  /** The id of this peer's Raft nodes. */
  get member(): string {
    return memberIn(this.init)
  }

  /** The founders that have not agreed to the admission yet. */
  get missing(): string[] {
    return this.admission.missing
  }

  /** `revision` is that of the newest configuration that this peer has applied. */
  introduce(addresses: readonly string[], revision: number): RaftIntroduction {
    const { id, storage, durableMark } = this.init
    const { clusterId, digest, incarnation, boot, process, isAdmitted } = this
    return {
      version: PROTOCOL_VERSION,
      features: FEATURES,
      clusterId,
      founding: digest,
      from: id,
      addresses: addresses.slice(0, MAX_ADDRESSES),
      incarnation,
      boot,
      process,
      joined: storage.joined,
      revision,
      admitted: isAdmitted,
      ...durableMark()
    }
  }

  /**
   * Judges a remote's introduction. Returns undefined if it is accepted. Compares founding configurations before
   * membership, because a peer that was founded from another configuration is not a stranger.
   */
  refusal(remote: string, introduction: RaftIntroduction, standing: Standing): IntroductionRefusal | undefined {
    const { version, features, clusterId, founding, from } = introduction
    const refuse = (reason: RefusalReason, problem: string): IntroductionRefusal => {
      const foundingToShow = reason === 'founding' ? this.foundingFor(remote) : undefined
      return { error: new NotAuthorizedError(remote, problem), reason, founding: foundingToShow }
    }
    const wrongVersion = refuseVersion(version, features)
    if (wrongVersion !== undefined) return { error: wrongVersion, reason: 'version', founding: undefined }
    if (clusterId !== this.clusterId) return refuse('founding', `it belongs to cluster ${clusterId}`)
    if (founding !== this.digest) {
      const theirs = `it was founded from another configuration: digest ${founding}`
      // A stranger need not learn this cluster's digest.
      return refuse('founding', this.isFounder(remote) ? `${theirs}, not ${this.digest}` : theirs)
    }
    if (standing === 'stranger') return refuse('membership', removedFrom(clusterId))
    if (from !== remote) return refuse('membership', `it claims to be ${from}`)
    if (standing === 'otherDirectory') return refuse('membership', OTHER_DIRECTORY)
    if (standing === 'maybeNewDirectory') return refuse('behind', MAYBE_NEW_DIRECTORY)
    const problem = this.evidence.refusal(introduction)
    return problem === undefined ? undefined : refuse('evidence', problem)
  }

  /** True for a voter of the founding configuration. */
  isFounder(peerId: string): boolean {
    return isMemberOf(this.init.founding, peerId)
  }

  /** The founding configuration, if `remote` is one of its voters; others need not know it. */
  foundingFor(remote: string): Uint8Array | undefined {
    return this.isFounder(remote) ? this.foundingBytes : undefined
  }

  /**
   * How the configuration of a remote differs, in words; undefined unless both peers are voters of one of the two
   * configurations. Throws CodecError.
   */
  describeDifference(remote: string, theirs: Uint8Array): NotAuthorizedError | undefined {
    const config = decode(clusterConfig, theirs)
    const meansThisPeer = isMemberOf(config, remote) && isMemberOf(config, this.init.id)
    if (!this.isFounder(remote) && !meansThisPeer) return undefined
    const difference = foundingDifference(this.init.founding, config)
    return new NotAuthorizedError(remote, `it was founded from another configuration: ${difference}`)
  }

  /** Records an accepted introduction; it is durable when this resolves. */
  async met(introduction: RaftIntroduction): Promise<void> {
    this.evidence.met(introduction)
    this.learned.learn(introduction.from, introduction.addresses)
    await this.save()
  }

  /** A peer has accepted this peer's hello. */
  acceptedBy(introduction: RaftIntroduction): void {
    this.admission.acceptedBy(introduction)
  }

  /** A leader lets an incarnation take part. */
  admittedByLeader(incarnation: string): void {
    if (incarnation === this.incarnation) this.admission.admittedByLeader()
  }

  /**
   * Takes part from now on if that has been granted, durably. True when it is so only now. Throws what the storage
   * throws; then the peer takes no part yet, and this may be called again.
   */
  takePart(): boolean {
    if (this.isAdmitted || !this.admission.isAdmitted) return false
    this.init.storage.admit()
    return true
  }

  /** Differs from the result of an earlier call when {@link sightings} do. */
  news(): number {
    const own = this.init.committedMark()
    if (!isSameMark(own, this.own)) {
      this.own = own
      this.ownChanges++
    }
    return this.evidence.changes + this.ownChanges
  }

  /**
   * This peer's evidence, and its own mark. Followers acknowledge entries to the leader, but no peer acknowledges the
   * leader's own, so the others learn of those only from the leader's mark.
   */
  sightings(): RaftSighting[] {
    const { incarnation, boot, process, isAdmitted, init } = this
    const life = { incarnation, boot, process }
    const self = { member: this.member, ...life, admitted: isAdmitted, ...init.committedMark(), past: NO_MARK }
    return [self, ...this.evidence.sightings()]
  }

  learn(sightings: readonly RaftSighting[]): void {
    for (const sighting of sightings) if (sighting.member !== this.member) this.evidence.learn(sighting)
  }

  /** Makes the present evidence and addresses durable. */
  async save(): Promise<void> {
    const { boot, evidence, learned, hinted } = this
    const changes = evidence.changes + learned.changes + hinted.changes
    if (changes === this.savedChanges) return
    const text = encode(memory, {
      boot,
      peers: evidence.sightings(),
      addresses: learned.members,
      hints: hinted.members
    })
    await this.init.storage.remember(toString(text, 'base64'))
    this.savedChanges = Math.max(this.savedChanges, changes)
  }
}

/**
 * Why a stranger with the founding digest of this cluster is none of its members. A peer that joined after this peer's
 * configuration names a newer revision, so this one was a member once.
 */
function removedFrom(clusterId: string): string {
  return `it is no member of cluster ${clusterId} any longer; quire members add, and a start with --join and an empty folder, bring it back`
}

const OTHER_DIRECTORY =
  'its data directory is not the one that is a member of the cluster; replace the member (docs/membership.md)'

const MAYBE_NEW_DIRECTORY =
  'its data directory is not a member by the configuration that this peer knows, and may be by the newer one that the other knows'

/** The id of the member whose directory this is. */
export function memberIn({ id, storage }: Pick<PeerIdentityInit, 'id' | 'storage'>): string {
  return memberId({ peerId: id, incarnation: storage.joined ? storage.incarnation : '' })
}

function isMemberOf({ members }: ReplicatedConfig, peerId: string): boolean {
  return members.some((member) => member.peerId === peerId)
}

function hex16(chance: number): string {
  return Math.floor(chance * 0x10000)
    .toString(16)
    .padStart(4, '0')
}
