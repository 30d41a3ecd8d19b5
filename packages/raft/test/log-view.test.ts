import { describe, expect, it } from 'vitest'
import type { StorageAck } from '../src/core/index.js'
import { LogView } from '../src/core/log-view.js'
import { snapshotOf } from './support/core-harness.js'
import { entry, firstConfiguration, HandStorage } from './support/hand-storage.js'

const CONFIGURATION = firstConfiguration({ voters: ['a'] })

/** A log of durable entries with these terms, and the disk under it. */
function logOf(...terms: readonly number[]): { log: LogView; write: (apply?: boolean) => StorageAck } {
  const storage = new HandStorage(
    terms.map((term, i) => entry(i + 1, term)),
    { term: 9, vote: undefined, commit: 0 }
  )
  const log = new LogView(storage)
  const write = (apply = true): StorageAck => {
    const { ack, reset, entries } = log.beginWrite(9)
    if (apply) storage.write({ ack, reset, entries, hardState: undefined })
    return ack
  }
  return { log, write }
}

const terms = (log: LogView): (number | undefined)[] =>
  Array.from({ length: log.lastIndex - log.firstIndex + 2 }, (_, i) => log.term(log.firstIndex - 1 + i))

describe('the log as the core sees it', () => {
  it("the core's view of the log shows the entries in storage, followed by those on their way there", () => {
    const { log, write } = logOf(1, 1)
    log.append(entry(3, 2))
    expect(log).toMatchObject({ firstIndex: 1, lastIndex: 3, durableIndex: 2, lastTerm: 2, hasUnwritten: true })
    const ack = write()
    expect(log).toMatchObject({ durableIndex: 2, hasUnwritten: false })
    expect(log.endWrite(ack)).toBe(true)
    expect(log.durableIndex).toBe(3)
    expect(terms(log)).toEqual([0, 1, 1, 2])
  })

  it("the core's view of the log tells the term of each entry, from the one before the first to the last", () => {
    const { log } = logOf(1, 2)
    expect([log.term(0), log.term(2), log.term(3)]).toEqual([0, 2, undefined])
    expect(log.matches(1, 1)).toBe(true)
    expect(log.matches(3, 0)).toBe(false)
    expect(() => log.termAt(3)).toThrow(/no term at 3/)
  })

  it("the core's view of the log accepts entries only at its end, with terms that never fall", () => {
    const { log } = logOf(1, 3)
    expect(() => log.append(entry(4, 3))).toThrow(/append of 4 after 2/)
    expect(() => log.append(entry(3, 2))).toThrow(/append of term 2 after 3/)
  })

  it("the core's view of the log compares its last entry with a candidate's (§5.4.1)", () => {
    const { log } = logOf(1, 3)
    expect([log.isUpToDate(2, 3), log.isUpToDate(1, 3), log.isUpToDate(9, 2), log.isUpToDate(1, 4)]).toEqual([
      true,
      false,
      false,
      true
    ])
  })

  it("the core's view of the log finds the last entry whose term is at most a given one (§5.3)", () => {
    const { log } = logOf(1, 1, 4, 4, 6)
    log.append(entry(6, 7))
    const found = [1, 2, 4, 5, 6, 7].map((term) => log.findConflictByTerm(9, term))
    expect(found).toEqual([2, 2, 4, 4, 5, 6])
    expect(log.findConflictByTerm(3, 9)).toBe(3)
    expect(log.findConflictByTerm(9, 0)).toBe(0)
  })

  it("the core's view of the log returns entries of both halves, as many as fit, but at least one", () => {
    const { log } = logOf(1, 1)
    for (const index of [3, 4]) log.append(entry(index, 1))
    const indexes = (maxBytes: number, maxEntries?: number) =>
      log.entries(1, 4, maxBytes, maxEntries).map(({ index }) => index)
    // Each entry takes 24 bytes.
    expect([indexes(1), indexes(50), indexes(72), indexes(1000), indexes(1000, 2)]).toEqual([
      [1],
      [1, 2],
      [1, 2, 3],
      [1, 2, 3, 4],
      [1, 2]
    ])
    expect(() => log.entries(3, 5, 1000)).toThrow(/entries 3..5 of 1..4/)
  })
})

describe('truncations', () => {
  it('a truncation makes a write under way confirm less, even if the same entries are back in the log later (ABA)', () => {
    const { log, write } = logOf(1)
    for (const index of [2, 3]) log.append(entry(index, 2))
    const first = write(false)
    log.truncate(2)
    log.append(entry(2, 3))
    const second = write(false)
    log.truncate(2)
    for (const index of [2, 3]) log.append(entry(index, 2 + 2))
    expect(log.endWrite(first)).toBe(false)
    expect(log.endWrite(second)).toBe(false)
    expect(log.durableIndex).toBe(1)
    expect(log.endWrite(write())).toBe(true)
    expect(log.durableIndex).toBe(3)
  })

  it('a truncation removes durable entries as well', () => {
    const { log, write } = logOf(1, 1, 1)
    log.truncate(2)
    expect(log).toMatchObject({ lastIndex: 1, durableIndex: 1 })
    log.append(entry(2, 5))
    log.endWrite(write())
    expect(terms(log)).toEqual([0, 1, 5])
  })

  it('a truncation of entries that no write contains leaves the write under way unchanged', () => {
    const { log, write } = logOf(1)
    log.append(entry(2, 2))
    const ack = write()
    log.append(entry(3, 2))
    log.truncate(3)
    expect(log.endWrite(ack)).toBe(true)
    expect(log).toMatchObject({ lastIndex: 2, durableIndex: 2, hasUnwritten: false })
  })
})

describe('logs that start anew after a snapshot (§7)', () => {
  const snapshot = snapshotOf(7, 3, CONFIGURATION)

  it('a log that starts anew after a snapshot holds nothing before that snapshot, from the first moment (§7)', () => {
    const { log } = logOf(1, 1)
    log.append(entry(3, 2))
    log.reset(snapshot)
    expect(log).toMatchObject({ firstIndex: 8, lastIndex: 7, durableIndex: 7, lastTerm: 3, hasUnwrittenReset: true })
    expect([log.term(6), log.term(7), log.term(8)]).toEqual([undefined, 3, undefined])
    expect(log.findConflictByTerm(9, 2)).toBe(6)
  })

  it('a log that starts anew after a snapshot tells storage once, together with the entries that follow (§7)', () => {
    const { log, write } = logOf(1, 1)
    log.reset(snapshot)
    log.append(entry(8, 4))
    const ack = write()
    expect(log).toMatchObject({ hasUnwritten: false, durableIndex: 7 })
    expect(log.endWrite(ack)).toBe(true)
    expect(log).toMatchObject({ firstIndex: 8, lastIndex: 8, durableIndex: 8 })
    expect(terms(log)).toEqual([3, 4])
  })

  it('a log that starts anew after a snapshot does not count earlier writes for entries after the snapshot (§7)', () => {
    const { log, write } = logOf(1)
    for (let index = 2; index <= 9; index++) log.append(entry(index, 2))
    const before = write(false)
    log.reset(snapshot)
    for (const index of [8, 9]) log.append(entry(index, 4))
    expect(log.endWrite(before)).toBe(false)
    expect(log.durableIndex).toBe(7)
  })

  it('a log may start anew once more before storage knows of the first time (§7)', () => {
    const { log, write } = logOf(1)
    log.reset(snapshot)
    const first = write()
    log.reset(snapshotOf(12, 4, CONFIGURATION))
    expect(log.endWrite(first)).toBe(false)
    expect(log).toMatchObject({ firstIndex: 13, hasUnwrittenReset: true })
    log.endWrite(write())
    expect(log).toMatchObject({ firstIndex: 13, lastIndex: 12, durableIndex: 12, hasUnwrittenReset: false })
  })

  it('a log that starts anew can be truncated after the snapshot while storage does not know of it (§7)', () => {
    const { log, write } = logOf(1)
    log.reset(snapshot)
    for (const index of [8, 9]) log.append(entry(index, 4))
    const ack = write()
    log.truncate(8)
    log.append(entry(8, 5))
    log.endWrite(ack)
    expect(log.durableIndex).toBe(7)
    log.endWrite(write())
    expect(terms(log)).toEqual([3, 5])
  })
})
