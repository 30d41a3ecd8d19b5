import { ChangeRefusedError, NotAuthorizedError, UnavailableError, VersionMismatchError } from '@quire/protocol'
import { FakeClock } from '@quire/testing'
import { describe, expect, it } from 'vitest'
import { askLeader, type Redirection } from '../src/leader-search.js'

type Answer = string | Error | Redirection

const MEMBERS = ['a', 'b', 'c'].map((peerId) => ({ peerId, addresses: [`address of ${peerId}`] }))
const STRANGE = new NotAuthorizedError('x', 'it is not among the clients')
const GONE = new UnavailableError('it does not answer')

function redirect(leader: string, members = MEMBERS): Redirection {
  return { type: 'redirect', leader, members }
}

/** Asks peers that answer with these, one after the other; the last answer of a peer stays. */
async function search(answers: Record<string, Answer[]>, given = Object.keys(answers)) {
  const clock = new FakeClock()
  const asked: string[] = []
  const outcome: { result?: string; error?: unknown } = {}
  const members = given.map((peerId) => ({ peerId, addresses: [`address of ${peerId}`] }))
  askLeader<string>(members, clock, 30_000, ({ peerId }) => {
    asked.push(peerId)
    const [next, ...rest] = answers[peerId]!
    if (rest.length > 0) answers[peerId] = rest
    if (next instanceof Error) return Promise.reject(next)
    return Promise.resolve(typeof next === 'string' ? { result: next } : next!)
  }).then(
    (result) => (outcome.result = result),
    (error: unknown) => (outcome.error = error)
  )
  await clock.until(() => Object.keys(outcome).length > 0)
  return { ...outcome, asked, tookMs: clock.now() }
}

describe('the search for the leader', () => {
  it('a redirection leads to the leader, also to one that was not given', async () => {
    expect(await search({ a: [redirect('c')], b: ['b'], c: ['done'] }, ['a', 'b'])).toMatchObject({
      result: 'done',
      asked: ['a', 'c'],
      tookMs: 0
    })
  })

  it('the search goes on while no peer leads, and ends when the time is over', async () => {
    const found = await search({ a: [redirect(''), redirect('b')], b: [GONE, GONE, 'done'], c: [GONE] })
    expect(found).toMatchObject({ result: 'done' })
    const none = await search({ a: [redirect('')], b: [GONE], c: [GONE] })
    expect(none).toMatchObject({ error: expect.any(UnavailableError), tookMs: 30_000 })
  })

  it('a peer that does not know a new admin yet, or runs another version, does not end the search', async () => {
    for (const refusal of [STRANGE, new VersionMismatchError('protocol', 1, 2)]) {
      expect(await search({ a: [refusal], b: [redirect('c')], c: ['done'] })).toMatchObject({ result: 'done' })
    }
  })

  it("a refusal of the asker ends the search if it is the leader's, or if all peers were asked", async () => {
    const leaders = await search({ a: [redirect('b')], b: [STRANGE], c: ['never'] })
    expect(leaders).toMatchObject({ error: STRANGE, asked: ['a', 'b'] })
    const all = await search({ a: [STRANGE], b: [STRANGE], c: [GONE] })
    expect(all).toMatchObject({ error: STRANGE, asked: ['a', 'b', 'c', 'a'] })
    const version = new VersionMismatchError('protocol', 1, 2)
    expect(await search({ a: [version] })).toMatchObject({ error: version, tookMs: 0 })
  })

  it('a refusal of the change ends the search at once', async () => {
    const refused = new ChangeRefusedError('the removal of a', 'it is the last voter')
    expect(await search({ a: [refused], b: ['never'] })).toMatchObject({ error: refused, asked: ['a'] })
  })
})
