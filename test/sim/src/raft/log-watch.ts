import { decode, raftConfiguration, type RaftConfiguration, type RaftMessageOf } from '@quire/protocol'
import type { Entry, HardState, LogWrite, RaftLog } from '@quire/raft'
import type { Coverage } from '../coverage.js'
import { Violation } from '../violation.js'
import { checksum } from './commands.js'

export interface KnownEntry {
  readonly term: number
  readonly crc: number
  /** The configuration of a `config` entry. */
  readonly configuration?: RaftConfiguration
}

export interface CommittedEntry extends KnownEntry {
  /** The term in which it was found committed. */
  readonly inTerm: number
}

interface SeenEntry extends KnownEntry {
  readonly previousTerm: number
}

const NO_STATE: HardState = { term: 0, vote: undefined, commit: 0 }

/** Where the entries of a write come from. */
interface Origin {
  /**
   * The node's term before it took the first of them. Until then it may have acknowledged entries that the write cuts.
   */
  readonly since: number
  /** Entries that storage gave back: they were in the node's log, and never on its disk. */
  readonly givenBack: readonly Entry[]
}

/** The last entry of a log, as a candidate reports its own. */
export interface LogEnd {
  readonly lastIndex: number
  readonly lastTerm: number
}

/**
 * Holds the durable log of one node as seen from outside.
 *
 * It outlives the node's crashes, and each restart is compared with it.
 */
export class WatchedLog {
  /** By index from 1 on, including entries that were compacted since. */
  readonly entries: KnownEntry[] = [{ term: 0, crc: 0 }]
  hardState = NO_STATE
  /** Writes that were handed to the log and are not durable, in order. */
  inFlight: LogWrite[] = []
  /** The origin of each write that has entries or resets the log. */
  readonly origins = new WeakMap<LogWrite, Origin>()
  /** The entries that storage gave back, until they are handed in again. */
  owed: Origin | undefined
  /** The newest term that was handed in. */
  term = 0
  /** The log begins after this entry, as last seen. */
  base = 0
  /** Other nodes may remember what was in it before. */
  wasWiped = false

  get lastIndex(): number {
    return this.entries.length - 1
  }

  get lastTerm(): number {
    return this.entries.at(-1)!.term
  }

  /** The node starts again, without everything that was not durable. */
  restart(term: number): void {
    this.inFlight = []
    this.owed = undefined
    this.term = term
  }

  wipe(): void {
    this.wasWiped = true
    this.entries.length = 1
    this.hardState = NO_STATE
    this.restart(0)
    this.base = 0
  }
}

/**
 * Checks that the durable logs of all nodes match.
 *
 * By induction over the index, all logs together form one tree of entries (log matching, Figure 3).
 */
export class LogWatch {
  /** By index; entry 0 is a placeholder. */
  readonly committed: CommittedEntry[] = [{ term: 0, crc: 0, inTerm: 0 }]
  /** By index, then by term: the one entry that was ever in a log there. */
  private readonly seen: Map<number, SeenEntry>[] = []

  constructor(private readonly coverage: Coverage) {}

  get commitIndex(): number {
    return this.committed.length - 1
  }

  /** Returns the entry of this term at this index, if it was in any log. */
  find(index: number, term: number): KnownEntry | undefined {
    return this.seen[index]?.get(term)
  }

  /**
   * Returns the term of entry `index` in a log that ends with this entry, which determines the whole log (log
   * matching). Undefined if the log ends before, or no node has made its last entries durable yet.
   */
  termIn({ lastIndex, lastTerm }: LogEnd, index: number): number | undefined {
    if (index > lastIndex) return undefined
    let term: number | undefined = lastTerm
    for (let at = lastIndex; at > index && term !== undefined; at--) term = this.seen[at]?.get(term)?.previousTerm
    return term
  }

  /** A log is about to make this write durable. `isLeader` says whether its node leads. */
  appending(name: string, watched: WatchedLog, write: LogWrite, isLeader: boolean): void {
    const { hardState, reset, entries } = write
    const first = entries[0]
    const { inFlight, owed, origins, term } = watched
    if (isLeader && first !== undefined) {
      let last = watched.lastIndex
      for (const each of inFlight) last = each.entries.at(-1)?.index ?? last
      // Behind entries that are handed in once more, the disk may have entries that an earlier leader cut.
      for (const { index } of owed?.givenBack ?? []) last = Math.min(last, index - 1)
      if (first.index <= last) {
        throw new Violation('leader append-only', `${name} writes entry ${first.index}, its log ends at ${last}`)
      }
    }
    inFlight.push(write)
    if (first !== undefined || reset !== undefined) {
      origins.set(write, owed ?? { since: term, givenBack: [] })
      watched.owed = undefined
    }
    watched.term = hardState?.term ?? term
  }

  /**
   * Leader completeness (Figure 3): the leader of the term in which an entry is committed has it, and so has each later
   * leader. None of them sends another entry in its place.
   */
  sent(name: string, { term, prevIndex, prevTerm, entries }: RaftMessageOf<'append'>): void {
    for (const each of [{ index: prevIndex, term: prevTerm }, ...entries]) {
      const committed = this.committed[each.index]
      if (committed === undefined || committed.inTerm > term || committed.term === each.term) continue
      const facts = `${name} sends entry ${each.index} of term ${each.term} in term ${term}`
      const other = `term ${committed.term} was committed there in term ${committed.inTerm}`
      throw new Violation('leader completeness', `${facts}; ${other}`)
    }
  }

  /** The write, or the part `durable` of it, is durable. Writes end in order. */
  durable(name: string, watched: WatchedLog, handedIn: LogWrite, write = handedIn): void {
    if (watched.inFlight.shift() !== handedIn) throw new Violation('writes end in order', name)
    if (write !== handedIn) this.gaveBack(watched, handedIn, write)
    if (write.hardState !== undefined) watched.hardState = write.hardState
    if (write.reset !== undefined) this.reset(name, watched, write.reset.index, write.reset.term)
    const first = write.entries[0]
    if (first === undefined) return
    const { entries } = watched
    if (first.index > entries.length) {
      throw new Violation('log without gaps', `${name} writes entry ${first.index} after ${entries.length - 1}`)
    }
    if (first.index < entries.length) {
      this.coverage.add('truncations')
      this.checkCut(name, watched, first, watched.origins.get(handedIn)!)
      entries.length = first.index
    }
    for (const entry of write.entries) this.add(name, watched, entry)
  }

  /**
   * The log of a restarted node is open. It must hold everything that was durable, and nothing that was never written.
   * Reads the entries that this did not know, or all of them.
   */
  recovered(name: string, watched: WatchedLog, log: RaftLog, readsAll: boolean): void {
    const { inFlight, hardState, origins } = watched
    this.checkHardState(name, hardState, log.hardState)
    watched.hardState = log.hardState
    watched.restart(log.hardState.term)
    const base = log.firstIndex - 1
    const reset = inFlight.findLast((write) => write.reset?.index === base)
    const baseTerm = log.term(base)
    if (watched.entries[base]?.term !== baseTerm) {
      if (reset?.reset === undefined && base > 0) {
        throw new Violation(
          'durability',
          `${name} restarts after entry ${base} of term ${baseTerm}, which it never had`
        )
      }
      this.reset(name, watched, base, baseTerm ?? 0)
    }
    const { entries } = watched
    let common = base
    while (common < watched.lastIndex && log.term(common + 1) === entries[common + 1]!.term) common++
    if (common < watched.lastIndex) {
      // A truncation that was under way may have become durable. Nothing else removes a durable entry.
      const replacing = log.term(common + 1)
      const underWay = inFlight.find(({ entries: [first, ...rest] }) => {
        if (first === undefined || first.index > common + 1) return false
        return [first, ...rest].find(({ index }) => index === common + 1)?.term === replacing
      })
      const isReset = reset !== undefined && log.lastIndex === base && common === base
      if (!isReset && (replacing === undefined || underWay === undefined)) {
        const lost = `entry ${common + 1} of term ${entries[common + 1]!.term}`
        throw new Violation(
          'durability',
          `${name} had flushed ${lost}; after its restart the log ends at ${log.lastIndex}, term there ${replacing}`
        )
      }
      if (!isReset) this.checkDropped(name, watched, common + 1, origins.get(underWay!)!)
      entries.length = common + 1
    }
    for (let index = readsAll ? base + 1 : entries.length; index <= log.lastIndex;) {
      for (const entry of log.entries(index, log.lastIndex + 1, 1 << 20)) {
        const known = entries[entry.index]
        if (known === undefined) this.add(name, watched, entry)
        else if (known.crc !== checksum(entry)) {
          throw new Violation('durability', `${name} reads another entry ${entry.index} than it has written`)
        }
        index = entry.index + 1
      }
    }
    watched.base = base
  }

  private checkHardState(name: string, durable: HardState, found: HardState): void {
    const isLost = found.term < durable.term
    const isOther = found.term === durable.term && durable.vote !== undefined && found.vote !== durable.vote
    if (isLost || isOther) {
      const facts = `${name} had flushed term ${durable.term}, vote ${durable.vote}; it finds term ${found.term}, vote ${found.vote}`
      throw new Violation('durability', facts)
    }
  }

  /** The log starts anew after a snapshot, and so after everything that is committed there. */
  private reset(name: string, watched: WatchedLog, index: number, term: number): void {
    const committed = this.committed[index]
    if (committed?.term !== term) {
      const facts = `${name} starts after entry ${index} of term ${term}, committed is term ${committed?.term}`
      throw new Violation('snapshots hold what is committed', facts)
    }
    watched.entries.length = 1
    for (let each = 1; each <= index; each++) watched.entries.push(this.committed[each]!)
    watched.base = index
    this.coverage.add('logs that start anew')
  }

  /** Storage had room for `kept` of a write. The node hands in the rest again, with what follows it. */
  private gaveBack(watched: WatchedLog, handedIn: LogWrite, kept: LogWrite): void {
    const rest = handedIn.entries.slice(kept.entries.length)
    const first = rest[0]
    if (first === undefined) return
    const origin = watched.origins.get(handedIn)!
    const { since, givenBack } = watched.owed ?? { ...origin, givenBack: [] }
    const again = origin.givenBack.filter(({ index }) => index >= first.index)
    watched.owed = { since: Math.min(since, origin.since), givenBack: [...givenBack, ...again, ...rest] }
  }

  private checkCut(name: string, watched: WatchedLog, replacing: Entry, origin: Origin): void {
    const { index, term } = replacing
    const cut = watched.entries[index]!
    // An entry that storage gave back may have cut the suffix in the node's log, and another leader has sent the suffix
    // again.
    const wasCut = origin.givenBack.some((each) => each.index === index && each.term !== term)
    if (cut.term === term && cut.crc === checksum(replacing) && !wasCut) {
      throw new Violation('a matching suffix stays', `${name} writes entry ${index} of term ${term} again`)
    }
    this.checkDropped(name, watched, index, origin)
  }

  /**
   * A node that was in the term in which an entry is committed may belong to the majority that has it. It accepts
   * nothing from earlier leaders, so it keeps the entry. A node that has not heard of that term still follows the
   * leader of an earlier one: it drops the entry for that leader, and gets it back from a later one.
   */
  private checkDropped(name: string, { entries }: WatchedLog, from: number, { since }: Origin): void {
    const last = Math.min(entries.length - 1, this.commitIndex)
    for (let index = from; index <= last; index++) {
      const { term, inTerm } = this.committed[index]!
      if (entries[index]!.term === term && since >= inTerm) {
        const facts = `${name}, which was in term ${since}, drops entry ${index}`
        throw new Violation('leader completeness', `${facts}, committed in term ${inTerm}`)
      }
    }
  }

  private add(name: string, { entries }: WatchedLog, entry: Entry): void {
    const { index, term } = entry
    if (index !== entries.length)
      throw new Violation('log without gaps', `${name} has ${index} after ${entries.length - 1}`)
    const previousTerm = entries[index - 1]!.term
    if (term < previousTerm) throw new Violation('terms rise', `${name} has term ${term} after term ${previousTerm}`)
    const crc = checksum(entry)
    const known = this.identify(name, entry, crc, previousTerm)
    const committed = this.committed[index]
    if (committed !== undefined && committed.term !== term && term > committed.inTerm) {
      throw new Violation('leader completeness', `term ${term} has another entry ${index} than what is committed`)
    }
    entries.push(known)
  }

  private identify(name: string, entry: Entry, crc: number, previousTerm: number): KnownEntry {
    const { index, term } = entry
    const atIndex = (this.seen[index] ??= new Map<number, SeenEntry>())
    const seen = atIndex.get(term)
    if (seen === undefined) {
      const known: SeenEntry = { term, crc, previousTerm, ...(entry.kind === 'config' && configurationOf(entry)) }
      atIndex.set(term, known)
      return known
    }
    // By induction over the index, equal entries have equal predecessors.
    if (seen.crc !== crc || seen.previousTerm !== previousTerm) {
      throw new Violation('log matching', `${name} has another entry ${index} of term ${term} than others`)
    }
    return seen
  }
}

function configurationOf({ data }: Entry): { configuration: RaftConfiguration } {
  return { configuration: decode(raftConfiguration, data) }
}
