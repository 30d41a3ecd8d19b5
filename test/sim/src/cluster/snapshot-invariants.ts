import type { Coverage } from '../coverage.js'
import { Violation } from '../violation.js'
import type { EvidenceInvariants } from './evidence-invariants.js'
import type { SimPeer } from './peers.js'
import type { ReferenceState } from './reference-state.js'

interface SnapshotInvariantsInit {
  readonly peers: readonly SimPeer[]
  readonly coverage: Coverage
  readonly reference: ReferenceState
  readonly evidence: EvidenceInvariants
  readonly retainedBytes: number
}

/** The state of a peer at the last check. */
interface Watched {
  life: number
  applied: number
  durable: number
  firstIndex: number
  /** The snapshot that this life has installed last. */
  installed: number
  /** The snapshots that it sends, by follower. */
  transfers: ReadonlyMap<string, number>
}

/**
 * Checks the guarantees of snapshots and compaction from outside, after every event (docs/storage.md, Snapshots and
 * Bounds; docs/raft.md, Snapshots and compaction).
 *
 * PeerRaftInvariants checks what remains of the logs.
 */
export class SnapshotInvariants {
  /** By member id: a peer with another folder begins anew. */
  private readonly watched = new Map<string, Watched>()

  constructor(private readonly init: SnapshotInvariantsInit) {}

  check(): void {
    for (const peer of this.init.peers) {
      // During an adoption the peer has no state.
      if (peer.core === undefined || peer.isOnOldFolder || peer.rows?.stage === 'adopting') continue
      const watched = this.watchedOf(peer.member!)
      if (watched.life !== peer.life) this.begin(peer, watched)
      this.checkInstallation(peer, watched)
      this.checkState(peer, watched)
      this.checkRecord(peer, watched)
      this.checkLog(peer, watched)
      this.checkTransfers(peer, watched)
    }
  }

  private watchedOf(member: string): Watched {
    const known = this.watched.get(member) ?? unseen(0)
    this.watched.set(member, known)
    return known
  }

  /** A life begins with what was durable, and with the last checkpoint of the life before. */
  private begin(peer: SimPeer, watched: Watched): void {
    const { log, applier } = peer.core!.root.replica
    const { durableIndex } = applier
    this.checkForward(peer, watched.durable, durableIndex)
    const seen = { applied: durableIndex, durable: durableIndex, firstIndex: log.firstIndex }
    Object.assign(watched, unseen(peer.life), seen)
  }

  /** Installed rows name their snapshot, and their state is the one that the entries give. */
  private checkInstallation(peer: SimPeer, watched: Watched): void {
    const { rows } = peer
    if (rows?.stage !== 'adopted') return
    const { applier, log } = peer.core!.root.replica
    const { durableIndex, appliedIndex, installed } = applier
    if (durableIndex !== watched.installed) {
      this.init.coverage.add('snapshots installed')
      watched.installed = durableIndex
      if (installed?.index !== durableIndex) {
        const facts = `${peer.name} has the rows of entry ${durableIndex}, and the record of ${installed?.index}`
        throw new Violation('an installation leaves a record', facts)
      }
      // If the log follows the snapshot, the entries behind it are applied in the same event.
      if (applier.state.digest() !== this.init.reference.digestAt(appliedIndex)) {
        const facts = `${peer.name} differs at entry ${appliedIndex}, after snapshot ${durableIndex}`
        throw new Violation('a snapshot is the state at its index', facts)
      }
    }
    if (installed === undefined || log.term(durableIndex) !== installed.term) return
    rows.stage = 'none'
    this.init.evidence.installed(peer, durableIndex, installed.term)
  }

  /** Neither the state nor its durable part goes back. */
  private checkState(peer: SimPeer, watched: Watched): void {
    const { appliedIndex, durableIndex } = peer.core!.root.replica.applier
    this.checkForward(peer, watched.applied, appliedIndex)
    this.checkForward(peer, watched.durable, durableIndex)
    if (durableIndex > watched.durable) this.checkBound(peer, watched)
    watched.applied = appliedIndex
    watched.durable = durableIndex
  }

  private checkForward(peer: SimPeer, before: number, now: number): void {
    if (now < before) throw new Violation('a state never goes back', `${peer.name}: ${before} -> ${now}`)
  }

  /**
   * The record of an installation excuses a log that lacks what the peer has acknowledged. It goes with the next
   * checkpoint, and with the next start before the peer takes part.
   */
  private checkRecord(peer: SimPeer, watched: Watched): void {
    if (peer.rows?.hasInstallationRecord !== true) return
    const { durableIndex } = peer.core!.root.replica.applier
    if (watched.installed === durableIndex) return
    const facts = `${peer.name} has it, at entry ${durableIndex}; this life has installed ${watched.installed}`
    throw new Violation('the record of an installation is removed', facts)
  }

  /** The log has every entry that the page store lacks, and what the receiver of a snapshot needs next. */
  private checkLog(peer: SimPeer, watched: Watched): void {
    const { log, applier, snapshots } = peer.core!.root.replica
    const base = log.firstIndex - 1
    if (base > applier.durableIndex) {
      const facts = `${peer.name} keeps what follows ${base}, and its checkpoint is ${applier.durableIndex}`
      throw new Violation('a log drops only entries of a checkpoint', facts)
    }
    const { heldIndex } = snapshots
    if (heldIndex !== undefined && base > heldIndex) {
      const facts = `${peer.name} sends ${heldIndex}, and keeps what follows ${base}`
      throw new Violation('a log keeps what follows a snapshot that is sent', facts)
    }
    if (log.firstIndex > watched.firstIndex && base !== watched.installed) this.init.coverage.add('compactions')
    watched.firstIndex = log.firstIndex
  }

  /** After a checkpoint, the log keeps the retained bytes, the batch that exceeds them, and the rest of its segment. */
  private checkBound(peer: SimPeer, { installed }: Watched): void {
    const { log, applier, snapshots } = peer.core!.root.replica
    const { durableIndex } = applier
    if (peer.isStopping || installed === durableIndex || snapshots.heldIndex !== undefined) return
    let bytes = 0
    for (let index = log.firstIndex; index <= durableIndex; index++) {
      bytes += log.entries(index, index + 1, 1)[0]!.data.length
    }
    const limit = this.init.retainedBytes + 2 * peer.largestFileBytes
    if (bytes <= limit) return
    const facts = `${peer.name} keeps ${bytes} bytes up to entry ${durableIndex}, its checkpoint, but ${limit} at most`
    throw new Violation('compaction bounds the log', facts)
  }

  private checkTransfers(peer: SimPeer, watched: Watched): void {
    const { coverage } = this.init
    const { node, replica } = peer.core!.root
    const { sending, heldIndex = Infinity } = replica.snapshots
    const transfers = new Map(sending.map(({ to, index }) => [to, index]))
    for (const [to, index] of transfers) {
      if (watched.transfers.get(to) !== index) coverage.add('snapshots begun')
    }
    // A leader that stops, or that leads no longer, ends all of them.
    const isLeading = node?.status().role === 'leader' && !peer.isStopping
    for (const [to, index] of watched.transfers) {
      if (transfers.has(to)) continue
      // The log keeps what follows a snapshot whose pieces have all left.
      if (heldIndex <= index) coverage.add('transfers complete')
      else if (isLeading) coverage.add('transfers ended by a limit')
    }
    watched.transfers = transfers
  }
}

function unseen(life: number): Watched {
  return { life, applied: 0, durable: 0, firstIndex: 1, installed: 0, transfers: new Map() }
}
