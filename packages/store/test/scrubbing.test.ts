import { NoSpaceError } from '@quire/protocol'
import { NotLeaderError } from '@quire/raft'
import { FakeClock } from '@quire/testing'
import pino from 'pino'
import { describe, expect, it } from 'vitest'
import { createApplier, createMemoryStorage, createPageStore } from '../src/pages/index.js'
import type { StateReport } from '../src/peer/comparison.js'
import { Scrubbing, type ScrubbingInit } from '../src/peer/scrubbing.js'
import { decodeCommand, encodeCommand } from '../src/state/index.js'
import { writebackLog } from './state-helpers.js'
import { change } from './support/snapshot-rows.js'

const WRONG = new Error('another state')

/** The scrubs of peer `a` of three voters, on rows in memory. */
function setUp(init: Partial<ScrubbingInit> = {}) {
  const clock = new FakeClock()
  const storage = createMemoryStorage({ schedule: (callback) => clock.schedule(1, callback) })
  const told: StateReport[] = []
  const proposed: string[] = []
  const lines: { readonly msg: string; readonly level: number }[] = []
  const fatal: Error[] = []
  const peer = { isLeader: true, term: 3, refusal: undefined as Error | undefined }
  const applier = createApplier({
    store: createPageStore({ backend: storage.open() }),
    clock,
    onApplied: (index, applied) => {
      if (applied?.type === 'compare') scrubbing.applied(index)
    },
    onCompare: (index, isStored) => scrubbing.stored(index, isStored)
  })
  const scrubbing: Scrubbing = new Scrubbing({
    self: 'a',
    applier,
    clock,
    divergenceError: () => WRONG,
    onDamagedPage: () => {},
    logger: pino({}, { write: (line) => void lines.push(JSON.parse(line) as (typeof lines)[number]) }),
    onFatal: (error) => fatal.push(error),
    ...init
  })
  scrubbing.connect({
    voters: () => ['a', 'b', 'c'],
    mayPropose: () => peer.isLeader,
    term: () => peer.term,
    propose: (data) => {
      if (peer.refusal !== undefined) throw peer.refusal
      proposed.push(decodeCommand(data).command.type)
      return { index: proposed.length, term: peer.term }
    },
    tell: (report) => told.push(report)
  })
  return { clock, storage, told, proposed, lines, fatal, peer, applier, scrubbing }
}

/** Applies some entries and a compare entry behind them, and waits for the report. */
async function compare({ clock, applier, told }: ReturnType<typeof setUp>): Promise<StateReport> {
  const index = applier.appliedIndex + 1
  const entries = index === 1 ? writebackLog(3) : []
  const data = encodeCommand({ type: 'compare', at: 1 })
  const before = told.length
  void applier.apply([...entries, { index: index + entries.length, term: 3, kind: 'normal', data }])
  expect(await clock.until(() => told.length > before)).toBe(true)
  return told.at(-1)!
}

describe('Scrubbing', () => {
  it('a leader proposes a comparison after the interval, and again after each further one', async () => {
    const { clock, proposed, scrubbing } = setUp({ intervalMs: 60_000 })
    await clock.advance(59_000)
    expect(proposed).toEqual([])
    for (let index = 1; index <= 3; index++) {
      await clock.advance(61_000)
      expect(proposed).toHaveLength(index)
      scrubbing.stored(index, false)
    }
    expect(proposed).toEqual(['compare', 'compare', 'compare'])
    scrubbing.stop()
    expect(clock.pending).toBe(0)
  })

  it('a leader proposes no comparison while an earlier one is under way, unless another term may have lost it (cluster seed 31004824)', async () => {
    const { clock, proposed, peer, scrubbing } = setUp({ intervalMs: 60_000 })
    await clock.advance(200_000)
    expect(proposed).toHaveLength(1)
    peer.term++
    await clock.advance(61_000)
    expect(proposed).toHaveLength(2)
    await clock.advance(200_000)
    expect(proposed).toHaveLength(2)
    scrubbing.stored(2, false)
    await clock.advance(61_000)
    expect(proposed).toHaveLength(3)
    scrubbing.stop()
  })

  it('a peer that does not lead proposes nothing, and a leader whose proposal is refused tries again', async () => {
    const { clock, proposed, peer, scrubbing } = setUp({ intervalMs: 60_000 })
    peer.isLeader = false
    await clock.advance(90_000)
    peer.isLeader = true
    peer.refusal = new NotLeaderError('a', 'b')
    await clock.advance(10_000)
    expect(proposed).toEqual([])
    peer.refusal = undefined
    await clock.advance(1_000)
    expect(proposed).toEqual(['compare'])
    scrubbing.stop()
  })

  it('a peer whose interval is infinite has no timer, and compares what another leader proposes', async () => {
    const peer = setUp({ intervalMs: Infinity })
    expect(peer.clock.pending).toBe(0)
    expect(await compare(peer)).toEqual({ index: 9, hash: expect.stringMatching(/^[0-9a-f]{64}$/) })
  })

  it('a damaged page is reported with its file and its number, each time', async () => {
    const pages: string[] = []
    const peer = setUp({ intervalMs: Infinity, onDamagedPage: (file, page) => pages.push(`${file}:${page}`) })
    await compare(peer)
    peer.storage.damage('bodies', 1, 5)
    expect(await compare(peer)).toEqual({ index: 10, hash: '' })
    await compare(peer)
    expect(pages).toEqual(['2:1', '2:1'])
    expect(peer.scrubbing.status()).toMatchObject({ damagedPages: 2, damagedRecords: 0 })
  })

  it('a page with a damaged key is logged, because no page can be named', async () => {
    const peer = setUp({ intervalMs: Infinity })
    await compare(peer)
    const changed = change(peer.storage, { table: 'heads', key: new Uint8Array(3), value: new Uint8Array(45) })
    await peer.clock.advance(1)
    await changed
    expect(await compare(peer)).toEqual({ index: 10, hash: '' })
    expect(peer.lines.map(({ msg }) => msg)).toContain('a page has a damaged key')
    expect(peer.scrubbing.status()).toMatchObject({ damagedPages: 1 })
  })

  it('a comparison that finds no space is incomplete', async () => {
    const peer = setUp({ intervalMs: Infinity })
    peer.storage.failWith(new NoSpaceError('disk'))
    void peer.applier.apply(writebackLog(1))
    // It waits for space until the end of the test.
    peer.applier.checkpoint().catch(() => {})
    await peer.clock.advance(10)
    expect(await compare(peer)).toEqual({ index: 5, hash: '' })
    peer.applier.stop()
  })

  it('a peer that cannot mark its state stops all the same', async () => {
    const peer = setUp({ intervalMs: Infinity })
    const { index } = await compare(peer)
    peer.storage.failWith(new NoSpaceError('disk'))
    for (const member of ['b', 'c']) peer.scrubbing.heard(member, { index, hash: 'other' })
    expect(peer.fatal).toEqual([])
    await peer.clock.advance(10)
    expect(peer.fatal).toEqual([WRONG])
    expect(peer.lines.map(({ msg }) => msg)).toContain('the state could not be marked: the next start is not refused')
    expect(peer.applier.diverged).toBeUndefined()
  })

  it('a peer marks its state durably before it stops', async () => {
    const peer = setUp({ intervalMs: Infinity })
    const { index, hash } = await compare(peer)
    peer.scrubbing.heard('b', { index, hash: 'other' })
    await peer.clock.advance(10)
    expect(peer.fatal).toEqual([])
    peer.scrubbing.heard('c', { index, hash: 'other' })
    expect(peer.fatal).toEqual([])
    await peer.clock.advance(10)
    expect(peer.fatal).toEqual([WRONG])
    expect(createPageStore({ backend: peer.storage.copy().open() }).diverged).toEqual({ index, hash, agreed: 'other' })
  })
})
