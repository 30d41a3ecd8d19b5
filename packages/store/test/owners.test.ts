import { describe, expect, it } from 'vitest'
import { MAX_RELEASED, Owners } from '../src/state/owners.js'
import type { StateStore } from '../src/state/records.js'

const FILE = 1
const SESSION = 2

const ignore = (): void => {}
const STORE = { put: ignore } as unknown as StateStore

/** The records of `owners` in the order in which a peer reads them from its disk. */
function recordsOf(owners: Owners): { kind: string; a: number; b: number; value: unknown }[] {
  return [...owners.records()].sort((one, other) => one.b - other.b)
}

/** A peer that starts with what another one has on its disk. */
function restart(owners: Owners): Owners {
  const restored = new Owners(STORE)
  for (const record of recordsOf(owners)) {
    if (record.kind === 'owner') restored.restore(record.a, record.b, record.value as ReturnType<Owners['get']>)
    else restored.restoreFloor((record.value as { epoch: number }).epoch)
  }
  return restored
}

describe('a peer that has restarted', () => {
  const pages = MAX_RELEASED + 1000

  /** Pages that the session came to own from the last to the first, at several epochs. */
  function owned(): Owners {
    const owners = new Owners(STORE)
    for (let page = pages - 1; page >= 0; page--) {
      for (let turn = 0; turn <= page % 3; turn++) owners.transfer(FILE, page, SESSION)
    }
    return owners
  }

  it.each<[string, (owners: Owners) => void]>([
    ['the end of a session', (owners) => owners.releaseSession(SESSION)],
    ['a closed file', (owners) => owners.releaseFile(SESSION, FILE)],
    ['a discarded range', (owners) => owners.releaseRange(FILE, 10, pages)]
  ])('a peer that has restarted keeps the same epochs as the others after %s with many pages', (_what, release) => {
    const running = owned()
    const restarted = restart(running)
    for (const owners of [running, restarted]) release(owners)
    expect(recordsOf(restarted)).toEqual(recordsOf(running))
    expect(restarted.owned).toBe(running.owned)
  })

  it('a session that releases many pages leaves no epoch that a page of it has had', () => {
    const owners = owned()
    const highest = Math.max(...recordsOf(owners).map(({ value }) => (value as { epoch: number }).epoch))
    owners.releaseSession(SESSION)
    expect(owners.get(FILE, 0)).toEqual({ session: 0, epoch: highest + 1, seq: 0 })
    expect(owners.owned).toBe(0)
  })
})
