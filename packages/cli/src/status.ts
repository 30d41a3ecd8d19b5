/** The commands status and health: what the peers report, and whether the cluster serves. */
import { shortId, shortenIds } from '@quire/net'
import Table from 'cli-table3'
import type { Command } from 'commander'
import { stagePercentile, type StageReport } from '@quire/store/internal/cli'
import { MAX_ROUND_TRIP_MS, NotAuthorizedError, type ComparisonOutcome } from '@quire/protocol'
import { explainRefusal, keyOf, peersOf, withCluster, type ClusterOptions } from './options.js'
import { COLUMNS, PLAIN_TABLE, wrap } from './layout.js'
import { ExitError, printFailure, printJson, printLine } from './output.js'
import { createProbe, reasonOf, type StatusAnswer } from './probe.js'
import { formatBytes } from './sizes.js'
import { takeSurvey, type PeerReport, type Survey } from './survey.js'
import { visibleTexts } from './visible.js'

/**
 * A far peer answers after five round trips. The network gives up sooner on a peer that is stuck in a step of the
 * connection.
 */
const TIMEOUT_MS = 10 * MAX_ROUND_TRIP_MS

export function addStatusCommands(program: Command): void {
  withCluster(program.command('status'))
    .description('show what each peer reports; exit status 1 if the cluster serves no writes')
    .action(async (options: ClusterOptions) => {
      const survey = await surveyOf(options)
      if (options.json === true) showJson(survey)
      else for (const line of statusLines(survey)) printLine(line)
      endWith(survey, (problem) => problem)
    })
  withCluster(program.command('health'))
    .description(
      'say in one line whether a majority of the voters follows a leader and can store writes; exit status 0 only then'
    )
    .action(async (options: ClusterOptions) => {
      const survey = await surveyOf(options)
      if (options.json === true) printJson(healthOf(survey))
      else if (survey.problem === undefined) printLine(healthLine(survey))
      endWith(survey, (problem) => `unhealthy: ${problem}`)
    })
}

export function healthLine(given: Survey): string {
  const survey = visibleTexts(given)
  return `healthy: ${summary(survey)}${attention(survey)}`
}

async function surveyOf(options: ClusterOptions): Promise<Survey> {
  const given = peersOf(options)
  const key = await keyOf(options)
  const probe = await createProbe(key)
  try {
    return await takeSurvey({
      given,
      self: probe.id,
      ask: (id, addresses, timeoutMs) =>
        probe.status(id, addresses, timeoutMs).catch((error: unknown) => {
          throw explainRefusal(error, key)
        }),
      reasonOf,
      founding: options.cluster === '' ? undefined : options.cluster,
      timeoutMs: options.timeout ?? TIMEOUT_MS,
      now: () => performance.now()
    })
  } finally {
    await probe.close()
  }
}

function endWith({ problem }: Survey, words: (problem: string) => string): void {
  if (problem === undefined) return
  printFailure(words(problem))
  throw new ExitError(1)
}

function healthOf(survey: Survey): object {
  const { problem, clusterId, leader, voters, answering, following, quorum, keptOut } = survey
  return {
    healthy: problem === undefined,
    problem: problem ?? null,
    clusterId: clusterId === '' ? null : clusterId,
    leader: leader?.id ?? null,
    term: leader?.term ?? null,
    voters,
    answering,
    following,
    quorum,
    keptOut: [...new Set(keptOut.map(({ id }) => id))],
    lowDisks: lowDisksOf(survey).map(({ id }) => id)
  }
}

function summary({ leader, voters, answering, following }: Survey): string {
  if (leader === undefined) return `${answering} of ${voters} voters answer`
  return `leader ${shortId(leader.id)} in term ${leader.term}, ${following} of ${voters} voters follow it`
}

/** The peers whose disks are almost full. */
function lowDisksOf({ peers }: Survey): { readonly id: string; readonly freeBytes: number }[] {
  return peers.flatMap(({ id, answer }) => (answer?.disk?.low === true ? [{ id, ...answer.disk }] : []))
}

/** Names the peers that an operator should look after, although the cluster is healthy. */
function attention(survey: Survey): string {
  const { keptOut, replacing } = survey
  const ids = [...new Set(keptOut.map(({ id }) => shortId(id)))]
  const notes = replacing.map((id) => `${shortId(id)} catches up with a new data directory`)
  for (const { id, freeBytes } of lowDisksOf(survey))
    notes.push(`the disk of ${shortId(id)} is almost full: ${formatBytes(freeBytes)} are free`)
  if (ids.length > 0) notes.push(`${ids.join(', ')} ${ids.length === 1 ? 'is' : 'are'} kept out: see quire status`)
  return notes.length === 0 ? '' : ` (${notes.join('; ')})`
}

function showJson({ peers, leader }: Survey): void {
  for (const { id, addresses, answer, reason, error } of peers) {
    if (answer === undefined) {
      printJson({ id, addresses, reason, error: error?.message })
      continue
    }
    const { type: _type, seq: _seq, leader: named, stages, ...status } = answer
    const lag = lagOf(answer, leader)
    printJson({ ...status, leader: named === '' ? null : named, lag, addresses, stages: stages.map(summarize) })
  }
}

/** Lines of at most 80 columns. Peers choose every text in a survey, ids included, so all are made visible first. */
export function statusLines(given: Survey): string[] {
  const survey = visibleTexts(given)
  const { peers, clusterId, founding, leader } = survey
  const lines = clusterId === '' ? [] : [`cluster ${clusterId}`, `founding ${founding}`, summary(survey)]
  if (leader !== undefined) lines.push(`${leader.sessions} sessions own ${leader.ownedPages} pages`)
  if (lines.length > 0) lines.push('')
  const letters = distinctLetters(peers.map(({ id }) => id))
  const head = ['PEER', 'ROLE', 'TERM', 'LAST', 'LAG', 'DISK FREE']
  const cells = peers.map((report) => cellsOf(report, survey, letters))
  // The last column takes the rest of the width, and wraps onto as many lines as it needs.
  const widths = head.map((title, i) => GAP + Math.max(title.length, ...cells.map((row) => row[i]!.length)))
  const rest = Math.max(MIN_COLUMN, COLUMNS - widths.reduce((sum, width) => sum + width, 0))
  const table = new Table({
    head: [...head, 'ADDRESS'],
    colWidths: [...widths, rest],
    ...PLAIN_TABLE
  })
  for (const [i, row] of cells.entries()) table.push([...row, wrap(placeOf(peers[i]!), rest)])
  return [
    ...lines,
    ...table
      .toString()
      .split('\n')
      .map((line) => line.trimEnd()),
    ...section(peers.flatMap((report) => storageLines(report, letters))),
    ...section(trouble(survey))
  ]
}

/** Says what the peer stores, and which snapshots it sends and receives. */
function storageLines({ id, answer }: PeerReport, letters: number): string[] {
  if (answer === undefined) return []
  const { store, repairs, sending, receiving } = answer
  const name = shortId(id, letters)
  const lines = sending.map(({ to, index, sentBytes, totalBytes }) => {
    const part = `${formatBytes(sentBytes)} of about ${formatBytes(totalBytes)}`
    return `${name} sends ${shortId(to, letters)} the snapshot of entry ${index}: ${part}`
  })
  if (receiving !== undefined) {
    lines.push(`${name} receives the snapshot of entry ${receiving.index}: ${formatBytes(receiving.receivedBytes)}`)
  }
  lines.push(...scrubLines(name, answer.scrub))
  if (store === undefined) return lines
  const { logBytes, firstIndex, fileBytes, usedBytes } = store
  const log = `log ${formatBytes(logBytes)} from entry ${firstIndex}`
  const pages = `pages ${formatBytes(fileBytes)}, ${formatBytes(usedBytes)} used`
  return [`${name} ${log} · ${pages}`, ...damageLines(name, repairs), ...lines]
}

function damageLines(name: string, { damaged, repaired, lost }: StatusAnswer['repairs']): string[] {
  if (damaged + repaired + lost === 0) return []
  return [`${name} damaged pages: ${damaged} wait for a good copy, ${repaired} repaired, ${lost} lost`]
}

const OUTCOMES: { readonly [outcome in ComparisonOutcome]: string } = {
  pending: 'not finished yet',
  equal: 'all voters have the same',
  incomplete: 'not all voters could compare theirs; see their logs',
  differs: 'the voters have different ones; see their logs'
}

/** Says what the last comparison of states has shown, and what scrubs have found damaged. */
function scrubLines(name: string, { comparison, damagedPages, damagedRecords }: StatusAnswer['scrub']): string[] {
  const lines = []
  if (comparison !== undefined) {
    lines.push(`${name} compared its state after entry ${comparison.index}: ${OUTCOMES[comparison.outcome]}`)
  }
  if (damagedPages + damagedRecords > 0) {
    lines.push(`${name} has found damage: ${damagedPages} pages and ${damagedRecords} records since its start`)
  }
  return lines
}

/** The lines after an empty one, at most as wide as a terminal. */
function section(lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : ['', ...lines.flatMap((line) => wrap(line, COLUMNS).split('\n'))]
}

/** Names the peers that take no part, with the reason, which no other line shows. */
function trouble({ peers, keptOut, leader }: Survey): string[] {
  const refused = keptOut.map(({ id, by, reason }) => {
    return `${shortId(id)} is kept out by ${by.map((each) => shortId(each)).join(' and ')}: ${shortenIds(reason)}`
  })
  const others = peers.filter(({ id }) => !keptOut.some((each) => each.id === id))
  const removed = others.filter((report) => isRemoved(report, leader))
  const strangers = removed.map(({ id }) => {
    return `${shortId(id)} is no member any longer: stop it; quire members add and an empty folder bring it back`
  })
  const fresh = others.filter((report) => report.answer?.admitted === false && !removed.includes(report))
  const waiting = fresh.map(({ id }) => {
    return `${shortId(id)} is new: it takes no part until all voters of the cluster file, or a leader, admit it`
  })
  return [...refused, ...strangers, ...waiting]
}

const GAP = 2
const MIN_COLUMN = 12

function cellsOf(report: PeerReport, { leader, keptOut }: Survey, letters: number): string[] {
  const { id, answer } = report
  const name = shortId(id, letters)
  if (answer === undefined) return [name, silenceOf(report), '', '', '', '']
  const { term, lastIndex, disk } = answer
  // A peer that takes no part still has a role in Raft, such as candidate, which would mislead.
  const isKeptOut = keptOut.some((each) => each.id === id)
  const role = isKeptOut ? 'kept out' : isRemoved(report, leader) ? 'removed' : answer.admitted ? answer.role : 'new'
  const lag = lagOf(answer, leader)
  const free = disk === undefined ? '' : `${formatBytes(disk.freeBytes)}${disk.low ? ', low' : ''}`
  return [name, role, String(term), String(lastIndex), lag === null ? '' : String(lag), free]
}

/** Whether a peer that answers is no member of the leader's configuration. */
function isRemoved({ id, answer }: PeerReport, leader: Survey['leader']): boolean {
  if (answer === undefined || leader === undefined) return false
  return ![...leader.voters, ...leader.learners].some(({ peerId }) => peerId === id)
}

/** The place of the role of a peer that gave no answer about itself. */
function silenceOf({ foreign, error }: PeerReport): string {
  if (foreign !== undefined) return 'other cluster'
  return error instanceof NotAuthorizedError ? 'refused' : 'no answer'
}

/** Entries of the leader's log that the peer lacks; null without a leader. Both answers are about the same moment. */
function lagOf(answer: { readonly lastIndex: number }, leader: Survey['leader']): number | null {
  return leader === undefined ? null : Math.max(0, leader.lastIndex - answer.lastIndex)
}

/** Where the peer is, and why it does not answer. */
function placeOf({ addresses, reason }: PeerReport): string {
  const places = addresses.map((address) => address.replace(/\/p2p\/.*$/, ''))
  const at = (reason === undefined ? places.slice(0, 1) : places).map(
    (place) => /^\/ip4\/([^/]+)\/tcp\/(\d+)$/.exec(place)?.slice(1).join(':') ?? place
  )
  return [...at, ...(reason === undefined ? [] : [shortenIds(reason)])].join('\n')
}

/** How many trailing letters tell the ids apart. */
function distinctLetters(ids: readonly string[]): number {
  const longest = Math.max(...ids.map((id) => id.length))
  for (let letters = 8; letters < longest; letters++) {
    if (new Set(ids.map((id) => id.slice(-letters))).size === ids.length) return letters
  }
  return longest
}

/** Adds count, median and 99th percentile. The buckets stay, for a program that compares two moments. */
function summarize({ name, buckets }: StageReport): StageReport & { count: number; p50Us: number; p99Us: number } {
  const count = buckets.reduce((sum, bucket) => sum + bucket.count, 0)
  const [p50Us = 0, p99Us = 0] = [50, 99].map((percent) => Math.round(stagePercentile(buckets, percent)))
  return { name, count, p50Us, p99Us, buckets }
}
