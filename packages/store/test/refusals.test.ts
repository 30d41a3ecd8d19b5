import { NotAuthorizedError } from '@quire/protocol'
import pino from 'pino'
import { expect, it } from 'vitest'
import { Refusals } from '../src/server/refusals.js'

it('logs a refusal once for each remote and reason, in bounded memory', () => {
  const lines: { client: string }[] = []
  const logger = pino({}, { write: (line: string) => void lines.push(JSON.parse(line)) })
  const refusals = new Refusals(logger, 'client')
  for (let i = 0; i < 3; i++) {
    for (const remote of ['a', 'b']) refusals.log(remote, new NotAuthorizedError(remote, 'it belongs to cluster green'))
  }
  refusals.log('a', new NotAuthorizedError('a', 'another reason'), { session: 7 })
  expect(lines.map(({ client }) => client)).toEqual(['a', 'b', 'a'])
  expect(lines[2]).toMatchObject({ msg: 'client refused', session: 7 })
  for (let i = 0; i < 1024; i++) refusals.log(`c${i}`, new Error('no'))
  refusals.log('c1023', new Error('no'))
  refusals.log('b', new NotAuthorizedError('b', 'it belongs to cluster green'))
  expect(lines.slice(-2).map(({ client }) => client)).toEqual(['c1023', 'b'])
})
