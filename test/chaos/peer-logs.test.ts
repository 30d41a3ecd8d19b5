/** What a run makes of the logs of its peers. */
import { expect, it } from 'vitest'
import { complaintsIn, loggedIn } from './src/cluster/peer-logs.js'

const line = (msg: string): string => `${JSON.stringify({ level: 50, file: '7', page: 3, msg })}\n`
const damaged =
  line('a page is damaged: asking other peers for it') +
  line('a page is damaged: asking other peers for it') +
  line('a damaged page was repaired') +
  line('a scrub has found damage') +
  line('a page has a damaged key')

it('damage at a peer whose files no fault has damaged is a complaint, also if it was repaired', () => {
  const logs = [
    { text: line('all voters have the same state'), isRotten: true },
    { text: damaged, isRotten: false }
  ]
  expect(complaintsIn(logs)).toEqual([
    ['damaged pages of peers whose files no fault has damaged', 2],
    ['damaged keys of peers whose files no fault has damaged', 1],
    ['scrubs with damage of peers whose files no fault has damaged', 1]
  ])
})

it('damage at a peer whose files a fault has damaged is none, but a page without a good copy is one at any peer', () => {
  const rotten = { text: damaged, isRotten: true }
  expect(complaintsIn([rotten])).toEqual([])
  expect(loggedIn([rotten, rotten])).toContainEqual(['pages repaired', 2])
  const lost = { text: damaged + line('no peer has a good copy of a damaged page'), isRotten: true }
  expect(complaintsIn([lost])).toEqual([['pages without a good copy', 1]])
})
