import {
  PROTOCOL_RAFT,
  decodeFrame,
  raftMessage,
  type RaftIntroduction,
  type RaftSighting,
  type RaftStreamMessage
} from '@quire/protocol'
import type { Coverage } from '../coverage.js'
import type { Scheduler } from '../scheduler.js'
import { Violation } from '../violation.js'
import { memberIdOf, nameOf } from './ids.js'
import type { SimNetwork } from './network.js'
import type { SimPeer } from './peers.js'
import type { PeerRaftInvariants } from './raft-invariants.js'

interface EvidenceInvariantsInit {
  readonly scheduler: Scheduler
  readonly coverage: Coverage
  readonly network: SimNetwork
  readonly peers: readonly SimPeer[]
  readonly raft: PeerRaftInvariants
}

interface AppliedEntry {
  readonly atMs: number
  readonly term: number
  readonly index: number
}

/**
 * The documented window: a peer speaks once a second, and the other writes it at once. Disks and frames take up to 200
 * ms here.
 */
const WINDOW_MS = 1800
/** A stream of this age has passed its handshake. */
const HANDSHAKE_MS = 1200
/** Round trips of the link that extend the window. */
const ROUND_TRIPS = 6
/** A hello is answered within this time, if no disk is slower than usual. */
const ANSWER_MS = 1000
const HELLO_TAG = 1
const WELCOME_TAG = 3
const SEEN_TAG = 4

/**
 * Compares what peers durably remember of each other with what happened (docs/identity.md, Evidence).
 *
 * Each entry that a peer has applied, or has installed with a snapshot, is committed and on its disk, whether the peer
 * led or followed.
 */
export class EvidenceInvariants {
  private readonly appliedEntries = new Map<SimPeer, { readonly life: number; readonly entries: AppliedEntry[] }>()
  /** The hellos on each link that may still be answered. A twin sends its own beside those of its peer. */
  private readonly hellos = new Map<string, { readonly atMs: number; readonly hello: RaftIntroduction }[]>()

  /** A peer does not repeat what it has told, and real streams lose nothing. */
  private readonly isLossy: boolean

  constructor(private readonly init: EvidenceInvariantsInit) {
    const { network } = init
    this.isLossy = network.isFaulty && network.init.raftLoss > 0
  }

  applied(peer: SimPeer, index: number): void {
    const term = peer.core?.root.replica.log.term(index)
    if (term !== undefined) this.installed(peer, index, term)
  }

  /** The log of a peer begins after a snapshot that the peer has installed. */
  installed(peer: SimPeer, index: number, term: number): void {
    let own = this.appliedEntries.get(peer)
    // A process that was killed within the window may have told nobody, and the next one may not know what is
    // committed.
    if (own?.life !== peer.life) own = { life: peer.life, entries: [] }
    this.appliedEntries.set(peer, own)
    own.entries.push({ atMs: this.init.scheduler.now, term, index })
  }

  /** Every peer durably remembers what each other peer had before the window, if the link between them was up. */
  check(): void {
    for (const about of this.init.peers) {
      for (const peer of this.init.peers) if (peer !== about) this.checkPair(peer, about)
    }
  }

  private checkPair(peer: SimPeer, about: SimPeer): void {
    const { scheduler, network, coverage } = this.init
    const { roundTripMs } = network.init
    if (this.isLossy) return
    const windowMs = WINDOW_MS + ROUND_TRIPS * roundTripMs
    const since = scheduler.now - windowMs
    const settled = this.appliedEntries.get(about)
    if (!linksWith(peer, about.member) || !linksWith(about, peer.member)) return
    const must = settled?.entries.findLast(({ atMs }) => atMs <= since)
    if (must === undefined || settled?.life !== about.life) return
    if (![peer, about].every((each) => runsSince(each, since))) return
    if (!network.isSteady(about.id, peer.id, PROTOCOL_RAFT, since - HANDSHAKE_MS)) return
    coverage.add('evidence checked')
    if (about.core?.root.node?.status().role === 'leader') coverage.add('evidence of leaders checked')
    const { lastTerm = 0, lastIndex = 0 } = peer.remembered(about.member!) ?? {}
    if (lastTerm > must.term || (lastTerm === must.term && lastIndex >= must.index)) return
    const facts = `entry ${must.index} of term ${must.term}, ${windowMs} ms ago; remembered: ${lastIndex} of ${lastTerm}`
    throw new Violation('peers remember what others have', `${peer.name} of ${about.name}: ${facts}`)
  }

  delivered(from: string, to: string, protocol: string, frame: Uint8Array): void {
    const message = linkMessageIn(protocol, frame, HELLO_TAG)
    if (message?.type !== 'raftHello') return
    const link = `${from}>${to}`
    const { now } = this.init.scheduler
    const lately = (this.hellos.get(link) ?? []).filter(({ atMs }) => atMs > now - ANSWER_MS)
    this.hellos.set(link, [...lately, { atMs: now, hello: message }])
  }

  sent(from: string, to: string, protocol: string, frame: Uint8Array): void {
    this.checkAnswer(from, to, protocol, frame)
    this.checkSeen(from, protocol, frame)
  }

  /**
   * Only committed entries are evidence. Any other entry may be truncated lawfully, and its peer would be refused
   * forever.
   */
  private checkSeen(from: string, protocol: string, frame: Uint8Array): void {
    const message = linkMessageIn(protocol, frame, SEEN_TAG)
    if (message?.type !== 'raftSeen') return
    // The regular check of this event comes only after it.
    this.init.raft.check()
    for (const { member, lastTerm, lastIndex } of message.peers) {
      if (lastIndex === 0 || this.init.raft.termOfCommitted(lastIndex) === lastTerm) continue
      const facts = `${nameOf(from)} says so of entry ${lastIndex} of term ${lastTerm}, which ${nameOf(member)} has`
      throw new Violation('only committed entries are evidence', facts)
    }
  }

  /**
   * Only members are welcome. The answer to a hello leaves only when the hello's facts are durable: after a crash the
   * peer must still know them.
   */
  private checkAnswer(from: string, to: string, protocol: string, frame: Uint8Array): void {
    if (linkMessageIn(protocol, frame, WELCOME_TAG) === undefined) return
    const peer = this.init.peers.find(({ id }) => id === from)!
    const hellos = (this.hellos.get(`${to}>${from}`) ?? []).map(({ hello }) => hello)
    if (hellos.length === 0) return
    const members = hellos.map((hello) => memberIdOf(to, hello.joined ? hello.incarnation : ''))
    if (!members.some((member) => linksWith(peer, member))) {
      throw new Violation('only members are welcome', `${peer.name} welcomes ${members.join(' or ')}`)
    }
    const shortfalls = hellos.map((hello, i) => shortfall(peer.remembered(members[i]!), hello))
    if (shortfalls.includes(undefined)) return
    throw new Violation('evidence is durable before the answer', shortfalls.join('; '))
  }
}

/** What a peer does not remember of a hello; undefined if it remembers all. */
function shortfall(remembered: RaftSighting | undefined, hello: RaftIntroduction): string | undefined {
  if (remembered?.incarnation === hello.incarnation && remembered.boot >= hello.boot) return undefined
  return `boot ${hello.boot} of ${hello.incarnation}; remembered: boot ${remembered?.boot}`
}

function linksWith({ core }: SimPeer, member: string | undefined): boolean {
  return member !== undefined && core?.linkedMembers.has(member) === true
}

function runsSince({ process, isOnOldFolder }: SimPeer, since: number): boolean {
  return process?.alive === true && !process.stalled && process.runsSince <= since && !isOnOldFolder
}

/** Most frames are other messages. The tag behind the group and the trace tells them apart. */
function linkMessageIn(protocol: string, frame: Uint8Array, tag: number): RaftStreamMessage | undefined {
  if (protocol !== PROTOCOL_RAFT || frame[0] !== 0 || frame[1] !== 0 || frame[2] !== tag) return undefined
  return decodeFrame(raftMessage, frame).message
}
