import { NotAuthorizedError } from '@quire/protocol'
import { FakeClock } from '@quire/testing'
import pino from 'pino'
import { beforeEach, describe, expect, it } from 'vitest'
import { Refusals } from '../src/observability/refusals.js'

interface Line {
  readonly client?: string
  readonly level: number
  readonly msg: string
  readonly reason?: string
  readonly refusals?: number
}

const green = (remote: string): NotAuthorizedError => new NotAuthorizedError(remote, 'it belongs to cluster green')

describe('the log of refusals', () => {
  let lines: Line[]
  let clock: FakeClock
  let refusals: Refusals

  beforeEach(() => {
    lines = []
    clock = new FakeClock()
    const logger = pino({}, { write: (line: string) => void lines.push(JSON.parse(line) as Line) })
    refusals = new Refusals(logger, 'client', clock)
  })

  it('the log of refusals has one line for each remote and kind of refusal, whatever the error says', () => {
    for (let i = 0; i < 3; i++) {
      for (const remote of ['a', 'b']) {
        refusals.log({ remote, kind: 'cluster', error: new NotAuthorizedError(remote, `cluster ${i}`) })
      }
    }
    refusals.log({ remote: 'a', kind: 'list', error: green('a'), facts: { session: 7 }, level: 'error' })
    expect(lines.map(({ client, level }) => [client, level])).toEqual([
      ['a', 40],
      ['b', 40],
      ['a', 50]
    ])
    expect(lines[2]).toMatchObject({ msg: 'client refused', session: 7 })
  })

  it('the log of refusals has at most 32 lines a minute about remotes that are not members, and then counts the others', () => {
    for (let i = 0; i < 5000; i++) refusals.log({ remote: `c${i}`, kind: 'cluster', error: green(`c${i}`) })
    expect(lines).toHaveLength(32)
    clock.sleep(60_000)
    // The first refusal was not logged, so the next one is.
    refusals.log({ remote: 'c4999', kind: 'cluster', error: green('c4999') })
    expect(lines.slice(32)).toMatchObject([{ msg: 'more clients were refused', refusals: 4968 }, { client: 'c4999' }])
  })

  it('the log of refusals has no limit for members in common, and has a new line after the member was accepted', () => {
    for (let i = 0; i < 200; i++) refusals.log({ remote: 'm', kind: `${i}`, error: green('m'), isMember: true })
    expect(lines).toHaveLength(200)
    refusals.log({ remote: 'm', kind: '7', error: green('m'), isMember: true })
    expect(lines).toHaveLength(200)
    refusals.accepted('m', ['7'])
    refusals.log({ remote: 'm', kind: '7', error: green('m'), isMember: true })
    expect(lines).toHaveLength(201)
  })

  it('the log of refusals has another line if the refusal has another subject, at most four for each remote and kind in ten minutes', () => {
    const refuse = (about: string): void =>
      refusals.log({ remote: 'm', kind: 'difference', about, error: green('m'), isMember: true })
    for (const about of ['clients', 'clients', 'admins', 'admins', 'clients']) refuse(about)
    expect(lines).toHaveLength(3)
    for (let i = 0; i < 50; i++) refuse(`${i}`)
    expect(lines).toHaveLength(4)
    clock.sleep(600_000)
    // The last line has this subject.
    refuse('0')
    expect(lines).toHaveLength(4)
    for (let i = 1; i < 50; i++) refuse(`${i}`)
    expect(lines).toHaveLength(8)
  })

  it('the log of refusals has at most four lines in ten minutes about a member that is accepted and refused in turn', () => {
    for (let i = 0; i < 100; i++) {
      refusals.log({ remote: 'm', kind: 'frame', error: green('m'), isMember: true })
      refusals.accepted('m', ['frame'])
    }
    expect(lines).toHaveLength(4)
  })

  it('the log of refusals cuts long reasons, which a remote may have written', () => {
    refusals.log({ remote: 'a', kind: 'cluster', error: new NotAuthorizedError('a', 'x'.repeat(5000)) })
    expect(lines[0]!.reason).toHaveLength(1022)
    expect(lines[0]!.reason).toMatch(/x…$/)
  })
})
