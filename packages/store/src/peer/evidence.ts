/**
 * What a peer remembers of the others, so that one that went backward, or runs twice, is found (docs/identity.md). Pure: the
 * identity keeps the book on disk.
 */
import type { RaftIntroduction, RaftSighting } from '@quire/protocol'

/** A folder, how often it was started, and the process that uses it. */
export type Life = Pick<RaftSighting, 'incarnation' | 'boot' | 'process'>

/** A process that no peer has: two processes claimed the same boot, so neither is believed until a higher boot appears. */
const CONTESTED = ''

export class EvidenceBook {
  /** Raised with each change. */
  changes = 0
  private readonly peers = new Map<string, RaftSighting>()

  constructor(remembered: Iterable<RaftSighting> = []) {
    for (const sighting of remembered) this.peers.set(sighting.peerId, sighting)
  }

  sightings(): RaftSighting[] {
    return [...this.peers.values()]
  }

  /** Why this life of the peer must not take part, with the remedy; undefined when nothing speaks against it. */
  refusal(introduction: RaftIntroduction): string | undefined {
    const known = this.peers.get(introduction.from)
    if (known === undefined) return undefined
    const { incarnation, boot, process, lastTerm, lastIndex } = introduction
    if (incarnation !== known.incarnation) {
      return `its data directory is not the one that it had before (${known.incarnation}, now ${incarnation}): ${REPLACE}`
    }
    if (boot < known.boot) {
      return `its data directory is at boot ${boot}, but was at boot ${known.boot} before: ${OLDER}`
    }
    if (process === known.process) return undefined
    if (isBehind(lastTerm, lastIndex, known)) {
      const has = `entry ${lastIndex} of term ${lastTerm}`
      return `its log ends at ${has}, but it acknowledged entry ${known.lastIndex} of term ${known.lastTerm}: ${OLDER}`
    }
    if (boot === known.boot) return `another process has used boot ${boot} of its data directory: ${OLDER}`
    return undefined
  }

  /** The life is the newest that this book knows of the peer. */
  isCurrent(peerId: string, { incarnation, boot, process }: Life): boolean {
    const known = this.peers.get(peerId)
    return known?.incarnation === incarnation && known.boot === boot && known.process === process
  }

  /** Records an introduction that {@link refusal} has let pass. */
  met({ from, incarnation, boot, process, admitted }: RaftIntroduction): void {
    const known = this.peers.get(from)
    if (known === undefined) {
      return this.set({ peerId: from, incarnation, boot, process, admitted, lastTerm: 0, lastIndex: 0 })
    }
    if (this.isCurrent(from, { incarnation, boot, process }) && (known.admitted || !admitted)) return
    this.set({ ...known, boot, process, admitted: known.admitted || admitted })
  }

  /** The peer's present incarnation takes part in votes. */
  tookPart(peerId: string): void {
    const known = this.peers.get(peerId)
    if (known !== undefined && !known.admitted) this.set({ ...known, admitted: true })
  }

  /**
   * The peer has acknowledged this entry, and it is committed. An acknowledged entry that is not committed proves nothing: a later
   * leader may have it truncated.
   */
  committed(peerId: string, lastTerm: number, lastIndex: number): void {
    const known = this.peers.get(peerId)
    if (known !== undefined && isBehind(known.lastTerm, known.lastIndex, { lastTerm, lastIndex })) {
      this.set({ ...known, lastTerm, lastIndex })
    }
  }

  /** Takes over what another peer remembers. Its own observations count more than hearsay, except where hearsay is worse news. */
  learn(sighting: RaftSighting): void {
    const known = this.peers.get(sighting.peerId)
    if (known === undefined) return this.set(sighting)
    if (sighting.incarnation !== known.incarnation) {
      // An incarnation that took part beats one that did not: the latter is an empty folder under an old key.
      if (sighting.admitted && !known.admitted) this.set(sighting)
      return
    }
    const admitted = known.admitted || sighting.admitted
    const isLonger = isBehind(known.lastTerm, known.lastIndex, sighting)
    const { lastTerm, lastIndex } = isLonger ? sighting : known
    const { boot, process } = newerLife(known, sighting)
    const isNews = isLonger || admitted !== known.admitted || boot !== known.boot || process !== known.process
    if (isNews) this.set({ ...known, boot, process, admitted, lastTerm, lastIndex })
  }

  private set(sighting: RaftSighting): void {
    this.peers.set(sighting.peerId, sighting)
    this.changes++
  }
}

const REPLACE = 'stop it; it comes back only as a new member of the cluster'
const OLDER =
  'it was restored from an older copy, or a copy of it runs elsewhere; stop every copy, then start the newest one'

function newerLife(known: Life, heard: Life): { readonly boot: number; readonly process: string } {
  if (heard.boot < known.boot) return known
  if (heard.boot > known.boot || heard.process === known.process) return heard
  return { boot: known.boot, process: CONTESTED }
}

/** Logs compare by term, then by index (§5.4.1). */
function isBehind(term: number, index: number, than: Pick<RaftSighting, 'lastTerm' | 'lastIndex'>): boolean {
  return term < than.lastTerm || (term === than.lastTerm && index < than.lastIndex)
}
