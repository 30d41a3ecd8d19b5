/** Shows each rule of LogWatch with the fewest writes. */
import type { RaftMessageOf } from '@quire/protocol'
import { createMemoryLog, type Entry, type LogWrite, type RaftLog } from '@quire/raft'
import { describe, expect, it } from 'vitest'
import { Coverage } from './src/coverage.js'
import { LogWatch, WatchedLog } from './src/raft/log-watch.js'

const entry = (index: number, term: number): Entry => ({
  index,
  term,
  kind: 'normal',
  data: Uint8Array.of(index, term)
})

/** A write in `term` of entries from `first` on, given by their terms. */
const write = (term: number, first = 1, terms: readonly number[] = []): LogWrite => ({
  hardState: { term, vote: undefined, commit: 0 },
  entries: terms.map((each, i) => entry(first + i, each))
})

/** A follower that has flushed entry 1 of term 1 and entry 2 of term 4. */
class Follower {
  readonly watch = new LogWatch(new Coverage())
  readonly watched = new WatchedLog()

  constructor() {
    this.flush(write(4, 1, [1, 4]))
  }

  handIn(handedIn: LogWrite, isLeader = false): LogWrite {
    this.watch.appending('n', this.watched, handedIn, isLeader)
    return handedIn
  }

  flush(handedIn: LogWrite, isLeader = false): this {
    this.watch.durable('n', this.watched, this.handIn(handedIn, isLeader))
    return this
  }

  /** Storage has room only for the hard state. */
  giveBack(handedIn: LogWrite): this {
    this.watch.durable('n', this.watched, this.handIn(handedIn), { ...handedIn, entries: [] })
    return this
  }

  /** Entries 1 and 2 are found committed, because other nodes have them. */
  commit(inTerm: number): this {
    for (const [index, term] of [
      [1, 1],
      [2, 4]
    ] as const)
      this.watch.committed.push({ ...this.watch.find(index, term)!, inTerm })
    return this
  }

  get terms(): number[] {
    return this.watched.entries.slice(1).map(({ term }) => term)
  }
}

describe('followers that drop entries', () => {
  it('a follower may drop a committed entry for the leader of an earlier term before it hears of the term of the commit (seed 2026300285)', () => {
    const follower = new Follower().commit(6).flush(write(5, 2, [5]))
    expect(follower.terms).toEqual([1, 5])
    // The leader of term 6 sends the committed entry once more.
    expect(follower.flush(write(6, 2, [4, 6])).terms).toEqual([1, 4, 6])
  })

  it('a follower may drop a committed entry in a write of the later term that also cuts for the earlier leader', () => {
    expect(new Follower().commit(6).flush(write(6, 2, [5])).terms).toEqual([1, 5])
  })

  it.each([6, 7])('a follower must not drop an entry committed in term 6 once it was in term %i', (term) => {
    const follower = new Follower().flush(write(term)).commit(6)
    expect(() => follower.flush(write(term, 2, [5]))).toThrow(
      `leader completeness: n, which was in term ${term}, drops entry 2, committed in term 6`
    )
  })

  it('a follower counts as in a term once it hands the term to its log, because an acknowledgment may leave before a cut is durable', () => {
    const follower = new Follower().commit(6)
    const before = follower.handIn(write(6))
    const cut = follower.handIn(write(6, 2, [5]))
    follower.watch.durable('n', follower.watched, before)
    expect(() => follower.watch.durable('n', follower.watched, cut)).toThrow(/leader completeness/)
  })

  it.each([
    [4, undefined],
    [6, 'leader completeness: n, which was in term 6, drops entry 2, committed in term 6']
  ])('a follower in term %i is judged by a cut that only a crash made durable, too', async (term, refusal) => {
    const follower = new Follower().commit(6)
    const log = createMemoryLog()
    await log.append(write(4, 1, [1, 4]))
    if (term > 4) await log.append(write(term))
    if (term > 4) follower.flush(write(term))
    const cut = follower.handIn(write(term === 4 ? 5 : term, 2, [5]))
    void log.append(cut)
    const found: RaftLog = log.crash(() => 0.99)
    expect(found.term(2)).toBe(5)
    const restart = (): void => follower.watch.recovered('n', follower.watched, found, true)
    if (refusal === undefined) restart()
    else expect(restart).toThrow(refusal)
  })
})

describe('entries that storage gave back', () => {
  it('entries that storage gave back may cut the log when they are handed in again, by the term in which the node took them', () => {
    const follower = new Follower()
      .commit(6)
      .giveBack(write(5, 2, [5]))
      .flush(write(6))
    expect(follower.terms).toEqual([1, 4])
    expect(follower.flush(write(6, 2, [5])).terms).toEqual([1, 5])
  })

  it('entries that storage gave back do not excuse a later cut once they are handed in again', () => {
    const follower = new Follower()
      .giveBack(write(5, 3, [5]))
      .flush(write(6))
      .flush(write(6, 3, [6]))
      .commit(6)
    expect(() => follower.flush(write(6, 2, [5]))).toThrow(/leader completeness/)
  })

  it('entries that storage gave back are part of the log, so a suffix that they cut may be written again for a later leader', () => {
    const follower = new Follower()
      .commit(6)
      .giveBack(write(5, 2, [5]))
      .flush(write(6))
    expect(follower.flush(write(6, 2, [4, 6])).terms).toEqual([1, 4, 6])
    expect(() => new Follower().flush(write(6, 2, [4, 6]))).toThrow(
      'a matching suffix stays: n writes entry 2 of term 4 again'
    )
  })

  it('entries that storage gives back twice stay known, with the writes behind them', () => {
    const follower = new Follower().commit(6)
    const first = follower.handIn(write(5, 2, [5]))
    const behind = follower.handIn(write(5, 3, [5]))
    for (const each of [first, behind]) {
      follower.watch.durable('n', follower.watched, each, { ...each, entries: [] })
    }
    follower.giveBack(write(6, 2, [4, 6]))
    expect(follower.flush(write(6, 2, [4, 6])).terms).toEqual([1, 4, 6])
  })

  it('entries that storage gave back end the log of a new leader, even if its disk has entries behind them', () => {
    const follower = new Follower().giveBack(write(5, 2, [5]))
    expect(follower.flush(write(7, 2, [5, 7]), true).terms).toEqual([1, 5, 7])
    expect(() => new Follower().flush(write(7, 2, [5, 7]), true)).toThrow(
      'leader append-only: n writes entry 2, its log ends at 2'
    )
  })
})

describe('entries that leaders send', () => {
  const append = (term: number, prevTerm: number, terms: readonly number[]): RaftMessageOf<'append'> => {
    const entries = [...write(term, 2, terms).entries]
    return { type: 'append', term, prevIndex: 1, prevTerm, commit: 0, entries }
  }

  it.each([6, 7])(
    'a leader in term %i sends no other entry in place of an entry that is committed in term 6',
    (term) => {
      const { watch } = new Follower().commit(6)
      watch.sent('n', append(term, 1, [4, 6]))
      expect(() => watch.sent('n', append(term, 1, [5]))).toThrow(
        `leader completeness: n sends entry 2 of term 5 in term ${term}; term 4 was committed there in term 6`
      )
      expect(() => watch.sent('n', append(term, 2, []))).toThrow(/sends entry 1 of term 2/)
    }
  )

  it('a leader in an earlier term may send another entry in place of a committed entry, because it may not know of the commit', () => {
    new Follower().commit(6).watch.sent('n', append(5, 1, [5]))
  })
})
