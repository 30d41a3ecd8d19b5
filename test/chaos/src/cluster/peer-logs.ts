/** What the logs of the run's own peers say, in the words of a run. Pure. */

export interface PeerLog {
  readonly text: string
  /** A fault has damaged files of the peer. */
  readonly isRotten: boolean
}

/** What it is, and the line that tells it. */
type Told = readonly (readonly [what: string, line: string])[]
export type Counted = [what: string, count: number]

const LOGGED: Told = [
  ['snapshots installed', 'a snapshot from the leader has become the state'],
  ['pages repaired', 'a damaged page was repaired'],
  ['comparisons in which all were equal', 'all voters have the same state']
]
const COMPLAINTS: Told = [
  ['pages without a good copy', 'no peer has a good copy of a damaged page'],
  ['peers with another state', 'a peer has another state than a majority of the voters'],
  ['comparisons without a majority', 'the voters have different states']
]
/** A repair would hide a page that the peer itself has damaged: after a loss of power, say, or on a full disk. */
const UNEXPLAINED: Told = [
  ['damaged pages of peers whose files no fault has damaged', 'a page is damaged'],
  ['damaged keys of peers whose files no fault has damaged', 'a page has a damaged key'],
  ['scrubs with damage of peers whose files no fault has damaged', 'a scrub has found damage']
]

export function loggedIn(logs: readonly PeerLog[]): Counted[] {
  return count(logs, LOGGED)
}

/** What no peer may ever log, and some have. */
export function complaintsIn(logs: readonly PeerLog[]): Counted[] {
  const sound = logs.filter(({ isRotten }) => !isRotten)
  return [...count(logs, COMPLAINTS), ...count(sound, UNEXPLAINED)].filter(([, times]) => times > 0)
}

function count(logs: readonly PeerLog[], told: Told): Counted[] {
  return told.map(([what, line]) => [what, logs.reduce((sum, { text }) => sum + text.split(line).length - 1, 0)])
}
