/** The demo's output: lines with a time, a progress line on a terminal, and the results of the checks. */
import type { ClientStats } from '@quire/dsm-client'
import Table from 'cli-table3'
import pc from 'picocolors'

export interface Output {
  /** Prints a line with the time since the start. */
  say(text: string): void
  /** Prints text as it is. */
  print(text: string): void
  /** Shows the progress of a phase, from 0 to 1: in place on a terminal, otherwise with a line at each quarter. */
  progress(phase: string, done: number): void
  /** Prints the result of a check and counts it. */
  check(held: boolean, what: string): void
  readonly checks: { readonly held: number; readonly failed: number }
}

const PROGRESS_INTERVAL_MS = 100
const BAR_WIDTH = 30

export function createOutput(stream: NodeJS.WriteStream = process.stdout): Output {
  const started = performance.now()
  const checks = { held: 0, failed: 0 }
  const isTerminal = stream.isTTY === true
  let drawnAt = 0
  let isDrawn = false
  let phaseShown = ''
  let quarterShown = 0

  function print(text: string): void {
    if (isDrawn) stream.write('\r\x1b[K')
    isDrawn = false
    stream.write(text + '\n')
  }

  function say(text: string): void {
    const seconds = ((performance.now() - started) / 1000).toFixed(1)
    print(`${pc.dim(`${seconds.padStart(6)} s`)}  ${text}`)
  }

  function draw(phase: string, done: number): void {
    const now = performance.now()
    if (now - drawnAt < PROGRESS_INTERVAL_MS && done < 1) return
    drawnAt = now
    const filled = Math.round(BAR_WIDTH * done)
    const bar = '█'.repeat(filled) + '░'.repeat(BAR_WIDTH - filled)
    stream.write(`\r\x1b[K          ${bar} ${percent(done).padStart(5)}  ${phase}`)
    isDrawn = true
  }

  return {
    checks,
    say,
    print,
    progress(phase, done) {
      if (isTerminal) return draw(phase, done)
      const quarter = Math.floor(done * 4)
      if (phase === phaseShown && quarter <= quarterShown) return
      const isNew = phase !== phaseShown
      phaseShown = phase
      quarterShown = quarter
      if (!isNew) say(`${phase}: ${percent(quarter / 4)}`)
    },
    check(held, what) {
      checks[held ? 'held' : 'failed']++
      say(`${held ? pc.green('ok    ') : pc.red('FAILED')}  ${what}`)
    }
  }
}

/** A table of what each client has done and how long its faults took. */
export function statsTable(stats: readonly ClientStats[]): string {
  const table = new Table({
    head: ['', ...stats.map((_, index) => `client ${index + 1}`)],
    style: { head: [], border: [], compact: true },
    colAligns: ['left', ...stats.map(() => 'right' as const)]
  })
  const row = (name: string, value: (each: ClientStats) => string) => table.push([name, ...stats.map(value)])
  for (const kind of ['read', 'write', 'upgrade'] as const) {
    row(`${kind} faults`, ({ faults }) => whole(faults[kind].count))
    row('  p50', ({ faults }) => time(faults[kind].p50Us, faults[kind].count))
    row('  p99', ({ faults }) => time(faults[kind].p99Us, faults[kind].count))
  }
  row('hits', ({ hits }) => whole(hits))
  row('invalidations', ({ invalidations }) => whole(invalidations))
  row('downgrades', ({ downgrades }) => whole(downgrades))
  row('handovers', ({ handovers }) => whole(handovers))
  row('writebacks', ({ writebacks }) => whole(writebacks))
  row('page bytes received', ({ bytesIn }) => mebibytes(bytesIn))
  row('page bytes sent', ({ bytesOut }) => mebibytes(bytesOut))
  return table.toString()
}

export function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`
}

/** The end of a PeerId. All PeerIds begin alike. */
export function short(peerId: string): string {
  return `…${peerId.slice(-6)}`
}

export function percent(part: number): string {
  return `${Math.round(100 * part)} %`
}

function whole(value: number): string {
  return value.toLocaleString('en-US')
}

function time(us: number, count: number): string {
  return count === 0 ? '–' : `${(us / 1000).toFixed(2)} ms`
}
