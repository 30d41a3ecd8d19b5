import { beforeEach, describe, expect, it } from 'vitest'
import { Owners } from '../src/state/owners.js'
import type { RecordTypes, StateStore } from '../src/state/records.js'

const FILES = [1, 2] as const
const [FILE, OTHER] = FILES
const SESSION = 3
const MAX_RELEASED = 100
const PAGES = MAX_RELEASED / 2 + 10

type Rows = Map<string, unknown>
type OwnerRecord = RecordTypes['owner']

/** A peer's tables, and what its disk has of them. */
interface Peer {
  readonly owners: Owners
  readonly rows: Rows
}

function peerWith(rows: Rows): Peer {
  const put = (kind: string, a: number, b: number, value: unknown): void => {
    const key = `${kind} ${a} ${b}`
    if (value === undefined) rows.delete(key)
    else rows.set(key, value)
  }
  return { owners: new Owners({ put } as unknown as StateStore, MAX_RELEASED), rows }
}

/** A peer that starts with what another one has on its disk, in another order than that one has it in memory. */
function restarted({ rows }: Peer): Peer {
  const peer = peerWith(new Map(rows))
  for (const [key, value] of [...rows].toReversed()) {
    const [kind, a, b] = key.split(' ')
    if (kind === 'owner') peer.owners.restore(Number(a), Number(b), value as OwnerRecord)
    else peer.owners.restoreFloor((value as { epoch: number }).epoch)
  }
  return peer
}

function inMemory({ owners }: Peer): Rows {
  return new Map([...owners.records()].map(({ kind, a, b, value }) => [`${kind} ${a} ${b}`, value]))
}

describe('neighboring pages', () => {
  it('have one record while they have the same owner, epoch and sequence number', () => {
    const { owners, rows } = peerWith(new Map())
    const owner = { session: SESSION, epoch: 1, seq: 0 }
    for (let first = 0; first < 1_000_000; first += 16) owners.assign(FILE, first, first + 16, owner)
    expect(rows).toEqual(new Map([[`owner ${FILE} 0`, { ...owner, count: 1_000_000 }]]))
    owners.assign(FILE, 500, 600, { ...owner, seq: 1 })
    expect(rows.size).toBe(3)
    expect([499, 500, 600].map((page) => owners.get(FILE, page).seq)).toEqual([0, 1, 0])
    owners.assign(FILE, 0, 500, { ...owner, seq: 1 })
    owners.assign(FILE, 600, 1_000_000, { ...owner, seq: 1 })
    expect(rows).toEqual(new Map([[`owner ${FILE} 0`, { ...owner, seq: 1, count: 1_000_000 }]]))
    expect(owners.owned).toBe(1_000_000)
  })

  it('have one record after they were released, however often that happens', () => {
    const { owners, rows } = peerWith(new Map())
    for (let epoch = 1; epoch < 10 * MAX_RELEASED; epoch += 2) {
      owners.assign(FILE, 0, 1000, { session: SESSION, epoch, seq: 0 })
      owners.releaseFile(SESSION, FILE)
    }
    expect(rows).toEqual(new Map([[`owner ${FILE} 0`, { session: 0, epoch: 1000, seq: 0, count: 1000 }]]))
  })
})

describe('a released run', () => {
  it('counts towards the limit as each of the parts into which a session splits it', () => {
    const { owners, rows } = peerWith(new Map())
    const end = 4 * MAX_RELEASED
    owners.assign(FILE, 0, end, { session: SESSION, epoch: 1, seq: 0 })
    owners.releaseFile(SESSION, FILE)
    // The parts between the owned pages and at both ends.
    const owned = Array.from({ length: MAX_RELEASED - 1 }, (_, i) => 2 * i + 1)
    for (const page of owned) owners.assign(FILE, page, page + 1, { session: SESSION, epoch: 3, seq: 0 })
    expect(rows.size).toBe(MAX_RELEASED + owned.length)
    expect(rows.has('epochFloor 0 0')).toBe(false)
    const last = end - 2
    owners.assign(FILE, last, last + 1, { session: SESSION, epoch: 3, seq: 0 })
    expect(rows.get('epochFloor 0 0')).toEqual({ epoch: 2 })
    expect(rows.size).toBe(owned.length + 2)
    for (const page of [0, end - 1]) expect(owners.get(FILE, page)).toEqual({ session: 0, epoch: 2, seq: 0 })
    for (const page of [1, last]) expect(owners.get(FILE, page)).toEqual({ session: SESSION, epoch: 3, seq: 0 })
    expect(owners.owned).toBe(owned.length + 1)
  })
})

describe('pages that a session owns', () => {
  let running: Peer

  beforeEach(() => {
    running = peerWith(new Map())
    for (let page = PAGES - 1; page >= 0; page--) {
      for (const file of FILES) {
        running.owners.assign(file, page, page + 1, { session: SESSION, epoch: 1 + (page % 3), seq: 0 })
      }
    }
  })

  it.each<[string, (owners: Owners) => void]>([
    ['the end of a session', (owners) => owners.releaseSession(SESSION)],
    [
      'two closed files',
      (owners) => {
        for (const file of FILES) owners.releaseFile(SESSION, file)
      }
    ],
    [
      'two discarded ranges',
      (owners) => {
        for (const file of FILES) owners.releaseRange(file, 1, PAGES - 2)
      }
    ],
    [
      'releases one by one, and then the end of the session',
      (owners) => {
        for (let page = 0; page < PAGES - 2; page++) owners.releaseRange(OTHER, page, page + 1)
        owners.releaseSession(SESSION)
      }
    ]
  ])('a peer that has restarted keeps the same epochs as the others after %s', (_what, release) => {
    const other = restarted(running)
    for (const peer of [running, other]) {
      release(peer.owners)
      expect(inMemory(peer)).toEqual(peer.rows)
    }
    expect(other.rows).toEqual(running.rows)
    expect(other.owners.owned).toBe(running.owners.owned)
  })

  it('pages that are released together keep their records up to the limit', () => {
    const { owners, rows } = running
    owners.releaseRange(FILE, 0, PAGES)
    owners.releaseRange(OTHER, 0, MAX_RELEASED - PAGES)
    expect(rows.size).toBe(2 * PAGES)
    expect(owners.get(FILE, 0)).toEqual({ session: 0, epoch: 2, seq: 0 })
  })

  it('pages that are released together leave one epoch that none of them has had if they are more than the limit', () => {
    const { owners, rows } = running
    owners.releaseSession(SESSION)
    expect(rows).toEqual(new Map([['epochFloor 0 0', { epoch: 4 }]]))
    expect(owners.get(FILE, 0)).toEqual({ session: 0, epoch: 4, seq: 0 })
    expect(owners.owned).toBe(0)
  })
})
