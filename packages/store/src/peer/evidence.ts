import type { RaftIntroduction, RaftMark, RaftSighting } from '@quire/protocol'
import { memberId } from '../state/member-id.js'
import { rejoinOption } from './rejoining.js'

/** A data directory's incarnation, its boot count, and the process that uses it. */
export type Life = Pick<RaftSighting, 'incarnation' | 'boot' | 'process'>

/** A life, and the mark of its log at the time of its claim. */
export type Claim = Life & RaftMark

/** The member that an introduction claims to be. */
export function memberOf({ from, joined, incarnation }: RaftIntroduction): string {
  return memberId({ peerId: from, incarnation: joined ? incarnation : '' })
}

/** Stands for two processes that claim the same boot. Both are refused until a higher boot appears. */
const CONTESTED = ''

/** The mark of a log of which nothing is known. */
export const NO_MARK: RaftMark = { term: 0, lastTerm: 0, lastIndex: 0 }

/**
 * Keeps the evidence of this peer about the others.
 *
 * With it, this peer refuses a peer whose data went backward or that runs twice (docs/identity.md, Evidence). The book
 * is pure; the identity keeps it on disk.
 */
export class EvidenceBook {
  /** The number of changes so far. */
  changes = 0
  private readonly members = new Map<string, RaftSighting>()

  constructor(remembered: Iterable<RaftSighting> = []) {
    for (const sighting of remembered) this.members.set(sighting.member, sighting)
  }

  sightings(): RaftSighting[] {
    return [...this.members.values()]
  }

  /** Forgets all members but these. */
  retain(members: ReadonlySet<string>): void {
    for (const member of this.members.keys()) {
      if (members.has(member)) continue
      this.members.delete(member)
      this.changes++
    }
  }

  /** Returns why this life of the peer must not take part, with the remedy. Undefined if no evidence is against it. */
  refusal(introduction: RaftIntroduction): string | undefined {
    const known = this.members.get(memberOf(introduction))
    if (known === undefined) return undefined
    if (introduction.incarnation !== known.incarnation) return otherFolder(introduction, known)
    const problem = olderFolder(introduction, known)
    return problem && `${problem}; ${ifLost(introduction)}`
  }

  /**
   * True if the claim's life is the newest that this book knows of the peer, and if its log had everything that earlier
   * lives had acknowledged.
   */
  isCurrent(member: string, claim: Claim): boolean {
    const known = this.members.get(member)
    return known !== undefined && isSameLife(known, claim) && shortfall(claim, known.past) === undefined
  }

  /** Records an introduction that {@link refusal} has accepted. */
  met(introduction: RaftIntroduction): void {
    const { incarnation, boot, process, admitted, term } = introduction
    const member = memberOf(introduction)
    const known = this.members.get(member)
    const life = { incarnation, boot, process }
    if (known?.incarnation !== incarnation) {
      return this.set({ member, ...life, admitted, ...NO_MARK, term, past: NO_MARK })
    }
    // The end of its log is not evidence yet, because a leader may have it truncated. Its term is.
    const mark = furthest(known, { ...NO_MARK, term })
    const past = process === known.process ? known.past : markOf(known)
    this.update({ ...known, ...life, admitted: known.admitted || admitted, ...mark, past })
  }

  /** The peer's present incarnation has been admitted. */
  tookPart(member: string): void {
    const known = this.members.get(member)
    if (known !== undefined) this.update({ ...known, admitted: true })
  }

  /**
   * The peer has acknowledged this entry, and the entry is committed. An uncommitted entry is not evidence,
   * because a later leader may have it truncated.
   */
  committed(member: string, lastTerm: number, lastIndex: number): void {
    const known = this.members.get(member)
    if (known !== undefined) this.update({ ...known, ...furthest(known, { term: 0, lastTerm, lastIndex }) })
  }

  /** Merges what another peer remembers or says of itself. A sighting that arrives late or twice changes nothing. */
  learn(heard: RaftSighting): void {
    const known = this.members.get(heard.member)
    if (known === undefined) return this.set(heard)
    if (heard.incarnation !== known.incarnation) {
      if (!known.admitted && (heard.admitted || isNewer(heard, known))) this.set(heard)
      return
    }
    const life = newerLife(known, heard)
    let past = furthest(known.past, heard.past)
    for (const each of [known, heard]) if (each.boot < life.boot) past = furthest(past, each)
    const admitted = known.admitted || heard.admitted
    this.update({ ...known, ...life, admitted, ...furthest(known, heard), past })
  }

  private update(sighting: RaftSighting): void {
    if (!isSame(sighting, this.members.get(sighting.member)!)) this.set(sighting)
  }

  private set(sighting: RaftSighting): void {
    this.members.set(sighting.member, sighting)
    this.changes++
  }
}

const TAIL_DIGITS = 8
const OLDER =
  'it was restored from an older copy, or a copy of it runs elsewhere; stop every copy, then start the newest one'
/**
 * A copy may have been started more often than the newest folder, which then needs a few starts to overtake the copy.
 */
const OVERTAKEN = `${OLDER}, again if its boot is refused: each start raises it`

/**
 * Returns why a folder of another incarnation is refused. A folder that never took part may be replaced, because no
 * peer has counted its votes or entries. Newer incarnations replace older ones on every peer, so two folders under one
 * key cannot alternate.
 */
function otherFolder(introduction: RaftIntroduction, known: RaftSighting): string | undefined {
  const { incarnation, admitted } = introduction
  const differs = `it runs on data directory ${tail(incarnation)}, and had ${tail(known.incarnation)} before`
  if (known.admitted || admitted) {
    return `${differs}: stop it and put the newest directory back; ${ifLost(introduction)}`
  }
  if (isNewer(introduction, known)) return undefined
  return `${differs}, which was made later: start the newer one, or make it anew`
}

/** Returns why a folder of the same incarnation is an older state of it, or a copy. */
function olderFolder(introduction: RaftIntroduction, known: RaftSighting): string | undefined {
  const { boot, process } = introduction
  if (boot < known.boot) {
    return `its data directory is at boot ${boot}, but was at boot ${known.boot} before: ${OVERTAKEN}`
  }
  // An acknowledgment may overtake the hello of the process that sent it, but not the hello of a later process.
  if (process === known.process) return shortfall(introduction, known.past)
  const lack = shortfall(introduction, known)
  if (lack !== undefined) return lack
  if (boot === known.boot) return `another process has used boot ${boot} of its data directory: ${OVERTAKEN}`
  return undefined
}

function ifLost(introduction: RaftIntroduction): string {
  return `if that is lost, start it with ${rejoinOption(memberOf(introduction))}`
}

/** The random end of an incarnation. Its beginning is a time, most of which all folders of one day share. */
function tail(incarnation: string): string {
  return incarnation.length <= TAIL_DIGITS ? incarnation : `…${incarnation.slice(-TAIL_DIGITS)}`
}

/** An incarnation begins with the time at which its folder was made. */
function isNewer(one: Pick<Life, 'incarnation'>, other: Pick<Life, 'incarnation'>): boolean {
  return one.incarnation > other.incarnation
}

function newerLife(known: Life, heard: Life): Pick<Life, 'boot' | 'process'> {
  const { boot, process } = heard.boot > known.boot ? heard : known
  const isContested = heard.boot === known.boot && heard.process !== known.process
  return { boot, process: isContested ? CONTESTED : process }
}

function isSameLife(one: Life, other: Life): boolean {
  return one.incarnation === other.incarnation && one.boot === other.boot && one.process === other.process
}

/** Returns what a folder with the mark `has` lacks of the mark `must`. */
function shortfall(has: RaftMark, must: RaftMark): string | undefined {
  if (isBehind(has, must)) {
    const end = `entry ${has.lastIndex} of term ${has.lastTerm}`
    return `its log ends at ${end}, but it acknowledged entry ${must.lastIndex} of term ${must.lastTerm}: ${OLDER}`
  }
  // The folder may have lost a vote that it cast in a later term.
  if (has.term < must.term) return `it is in term ${has.term}, but was in term ${must.term} before: ${OLDER}`
  return undefined
}

/** Compares the ends of two logs by term, then by index (§5.4.1). */
function isBehind(has: RaftMark, must: RaftMark): boolean {
  return has.lastTerm < must.lastTerm || (has.lastTerm === must.lastTerm && has.lastIndex < must.lastIndex)
}

function furthest(one: RaftMark, other: RaftMark): RaftMark {
  const { lastTerm, lastIndex } = isBehind(one, other) ? other : one
  return { term: Math.max(one.term, other.term), lastTerm, lastIndex }
}

function markOf({ term, lastTerm, lastIndex }: RaftMark): RaftMark {
  return { term, lastTerm, lastIndex }
}

export function isSameMark(one: RaftMark, other: RaftMark): boolean {
  return one.term === other.term && one.lastTerm === other.lastTerm && one.lastIndex === other.lastIndex
}

function isSame(one: RaftSighting, other: RaftSighting): boolean {
  const areMarks = isSameMark(one, other) && isSameMark(one.past, other.past)
  return areMarks && isSameLife(one, other) && one.admitted === other.admitted
}
