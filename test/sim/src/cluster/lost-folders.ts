import type { Folder } from './folder.js'
import type { SimPeer } from './peers.js'
import type { PeerRaftInvariants } from './raft-invariants.js'

interface LostFoldersInit {
  readonly peers: readonly SimPeer[]
  readonly raft: PeerRaftInvariants
}

/**
 * Says whether a folder may be lost now.
 *
 * The id of a lost folder is never used again, so every configuration that may come into force must keep a majority of
 * voters whose folders are whole (docs/raft.md, Membership).
 */
export class LostFolders {
  /** Member ids. */
  private readonly lost = new Set<string>()
  /** Folders that members have left behind. */
  readonly former: { readonly peerId: string; readonly folder: Folder }[] = []
  /** Commands that are under way. */
  private commands = 0
  /** For each command without an outcome, the highest term by the time when its admin gave up. */
  private undecided: number[] = []

  constructor(private readonly init: LostFoldersInit) {}

  /** Tracks a command that may change the voters. */
  async during<T extends { readonly type: string }>(command: Promise<T>): Promise<T> {
    this.commands++
    const outcome = await command
    this.commands--
    // A leader may have proposed the change.
    if (outcome.type === 'unknown') this.undecided.push(this.highestTerm())
    return outcome
  }

  has(member: string): boolean {
    return this.lost.has(member)
  }

  /** The member has no folder from now on. */
  lose(member: string, peerId: string, folder: Folder | undefined): void {
    this.lost.add(member)
    this.leave(peerId, folder)
  }

  /** A member that was removed leaves its folder behind. */
  leave(peerId: string, folder: Folder | undefined): void {
    if (folder?.isFounded === true) this.former.push({ peerId, folder })
  }

  /** Voters without these members keep a majority with whole folders. */
  isSafeWithout(voters: readonly string[], ...without: readonly string[]): boolean {
    const left = voters.filter((voter) => !without.includes(voter))
    const whole = left.filter((voter) => !this.lost.has(voter))
    return whole.length * 2 > left.length
  }

  mayLose(member: string): boolean {
    const { raft, peers } = this.init
    const inForce = raft.configurations.at(-1)?.configuration
    if (inForce === undefined || inForce.outgoing.length > 0 || this.commands > 0 || this.isUndecided()) return false
    const { voters } = inForce
    if (voters.some((voter) => this.lost.has(voter))) return false
    // A founder's new folder is admitted only while all other voters are there (docs/identity.md, Admission).
    const others = peers.filter((peer) => peer.member !== member && voters.includes(peer.member ?? ''))
    if (others.some(({ isAdmitted }) => !isAdmitted)) return false
    // The leader completes a replacement by itself.
    if (peers.some(({ core }) => core?.config.invited.some(({ replaces }) => replaces !== '') === true)) return false
    if (peers.some(({ core }) => differs(core?.root.node?.status().voters, voters))) return false
    return !voters.includes(member) || (voters.length - 1) * 2 > voters.length
  }

  /** A change without an outcome is decided when an entry of a later term is committed. */
  private isUndecided(): boolean {
    const { raft } = this.init
    const committed = raft.termOfCommitted(raft.commitIndex) ?? 0
    this.undecided = this.undecided.filter((term) => term >= committed)
    return this.undecided.length > 0
  }

  private highestTerm(): number {
    return Math.max(0, ...this.init.peers.map(({ core }) => core?.root.node?.status().term ?? 0))
  }
}

/** Peers that catch up and peers that were removed use older configurations, and it is safe to wait for them. */
function differs(some: readonly string[] | undefined, voters: readonly string[]): boolean {
  return some !== undefined && some.toSorted().join() !== voters.toSorted().join()
}
