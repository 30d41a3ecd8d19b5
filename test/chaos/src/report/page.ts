/** The report of a run: one HTML page that needs nothing else. Pure. */
import type { Outcome } from '../run.js'
import type { Timeline } from '../timeline.js'
import { REGISTER_PAGE_BYTES } from '../workloads/registers.js'
import { escapeText, faultChart, lineChart, type Line } from './chart.js'
import { storyOf, type StoryLine } from './story.js'

export interface PageInit {
  readonly seed: number
  readonly minutes: number
  /** The command that repeats the run. */
  readonly again: string
  readonly outcome: Outcome
}

const STYLE = `
body { font: 14px/1.5 system-ui, sans-serif; color: #222; max-width: 1140px; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.4em } h2 { font-size: 1.1em; margin-top: 1.8em }
.fine { color: #2a7a3b } .broken { color: #b02a2a }
svg { background: #fafafa; border: 1px solid #e4e4e4; font-size: 11px }
svg .grid { stroke: #e4e4e4 } svg .mark { text-anchor: middle; fill: #777 } svg .name { text-anchor: end; fill: #444 }
svg .inside { fill: white } .side { display: flex; gap: 4em; align-items: start }
table { border-collapse: collapse } td, th { padding: 2px 14px 2px 0; text-align: left } td.count { text-align: right }
tr.missing { background: #fbe3e3 } tr.impossible { background: #fdf0d5 } .story td { font-size: .86em; vertical-align: top }
.story .tight { white-space: nowrap }
pre { background: #f6f6f6; padding: .8em; overflow-x: auto }`

export function reportPage({ seed, minutes, again, outcome }: PageInit): string {
  const { problems, halted, timeline, judged, rejected, logged } = outcome
  const endMs = timeline.endMs
  const isFine = problems.length === 0
  const verdict = isFine
    ? 'No acknowledged write is lost, and the history is linearizable.'
    : problems.length === 1
      ? 'A problem was found.'
      : `${problems.length} problems were found.`
  const slowest = Math.max(0, ...timeline.healed.map(({ progressMs }) => progressMs))
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Chaos run, seed ${seed}</title><style>${STYLE}</style></head><body>
<h1>Chaos run of ${minutes} ${minutes === 1 ? 'minute' : 'minutes'}, seed ${seed}</h1>
<p class="${isFine ? 'fine' : 'broken'}"><strong>${verdict}</strong></p>
${halted === undefined ? '' : `<p>The run could not go on: ${escapeText(halted)}. The verdict is about what happened until then.</p>`}
${problems.map((problem) => `<pre class="broken">${escapeText(problem)}</pre>`).join('\n')}
${stories(outcome)}
<p>${judged.operations} operations on ${judged.objects} pages and sizes of files were judged.
${timeline.healed.length} rounds of faults were healed; after each, every program went on within ${(slowest / 1_000).toFixed(1)} s.</p>
<p>Again: <code>${escapeText(again)}</code></p>
<h2>Faults, and who leads</h2>
${faultChart(timeline, endMs)}
<h2>Operations a second</h2>
${lineChart(rates(timeline), endMs, '/s', false)}
<h2>Duration of operations, all workloads</h2>
${lineChart(durations(timeline), endMs, 'ms', true)}
<h2>Counts</h2>
<div class="side">
<table><tr><th>faults</th><th></th></tr>${rows([...timeline.faultCounts, ...logged])}</table>
<table><tr><th>operations</th><th></th></tr>${rows(timeline.operationCounts)}</table>
<table><tr><th>rejected calls</th><th></th></tr>${rows(Object.entries(rejected))}</table>
</div>
<h2>Every fault</h2>
<table>${timeline.faults.map((each) => row(each.fromMs, each.toMs ?? endMs, each.fault, each.what)).join('')}</table>
</body></html>
`
}

/** For each finding of the checker: what happened to the page, or to the size, at that time. */
function stories({ findings, events, timeline, clients }: Outcome): string {
  return findings
    .map((finding) => {
      const lines = storyOf({ events, finding, pageSize: REGISTER_PAGE_BYTES, timeline, clients })
      if (lines.length === 0) return ''
      const object = finding.page === undefined ? 'the size' : `page ${finding.page}`
      return `<h2>What happened to ${object} of file ${escapeText(finding.file)}</h2>
<p>No order of all operations explains the one in yellow. The one in red came before it, and is missing there.</p>
<table class="story"><tr><th>from</th><th>to</th><th>who</th><th>operation</th><th>outcome</th><th>faults</th></tr>
${lines.map(storyRow).join('\n')}</table>`
    })
    .join('\n')
}

function storyRow({ fromMs, toMs, who, what, status, mark, faults }: StoryLine): string {
  const times = [fromMs, toMs].map((ms) => `<td class="count tight">${(ms / 1_000).toFixed(3)} s</td>`).join('')
  const texts = [what, status, faults.join('; ')].map((text) => `<td>${escapeText(text)}</td>`).join('')
  return `<tr class="${mark ?? 'plain'}">${times}<td class="tight">${escapeText(who)}</td>${texts}</tr>`
}

function rows(counts: readonly (readonly [string, number])[]): string {
  return counts.map(([name, count]) => `<tr><td>${escapeText(name)}</td><td class="count">${count}</td></tr>`).join('')
}

function row(fromMs: number, toMs: number, fault: string, what: string): string {
  const at = `${(fromMs / 1_000).toFixed(1)} s`
  const lasted = `${((toMs - fromMs) / 1_000).toFixed(1)} s`
  return `<tr><td class="count">${at}</td><td class="count">${lasted}</td><td>${escapeText(fault)}</td><td>${escapeText(what)}</td></tr>`
}

function rates({ seconds }: Timeline): Line[] {
  return [...seconds].map(([name, all]) => ({ name, values: all.map(({ length }) => length) }))
}

function durations({ seconds }: Timeline): Line[] {
  const all = [...seconds.values()]
  const length = Math.max(0, ...all.map((each) => each.length))
  const merged = Array.from({ length }, (_, i) => all.flatMap((each) => each[i] ?? []))
  const line = (name: string, share: number): Line => ({
    name,
    values: merged.map((latencies) => quantile(latencies, share))
  })
  return [line('p50', 0.5), line('p99', 0.99)]
}

/** 0 without values. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0
}
