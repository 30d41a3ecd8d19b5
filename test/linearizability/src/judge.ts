/** Judges a whole history: every page and every size must be linearizable. */
import { check, type Operation, type Verdict } from './checker.js'
import type { HistoryEvent } from './history.js'
import { checkJustInTime } from './just-in-time.js'
import { pageModel, writesTo } from './page-model.js'
import { pagesOf, sizesOf } from './partition.js'
import { sizeModel, type SizeInput } from './size-model.js'
import { withoutUnseen } from './unseen.js'

interface JudgeOptions {
  /** One for all files, or a function of the file's id. */
  readonly pageSize: number | ((file: string) => number)
  /** Sizes that files had before the history began; default 0. */
  readonly initialSize?: (file: string) => number
  /** The most steps of the search for one object. */
  readonly maxSteps?: number
}

export interface Finding {
  readonly file: string
  /** Absent for the file's size. */
  readonly page?: number
  readonly result: 'violation' | 'undecided'
  /** The fault, and the operations around it. */
  readonly text: string
  /** Of a violation: the operation that no order explains, such as a read. */
  readonly impossible?: Span
  /** The last operation, in the longest order, that made what the impossible one should have found. */
  readonly missing?: Span
}

/** When an operation of the history began and ended. */
type Span = Pick<HistoryEvent, 'call' | 'return'>

interface Judgment {
  readonly objects: number
  readonly operations: number
  /** Empty if the history is linearizable. An undecided object is a finding. */
  readonly findings: readonly Finding[]
}

export function judge(history: readonly HistoryEvent[], options: JudgeOptions): Judgment {
  const { maxSteps, initialSize = () => 0 } = options
  const findings: Finding[] = []
  let objects = 0
  let operations = 0
  const take = <I>(
    where: Pick<Finding, 'file' | 'page'>,
    all: readonly Operation<I>[],
    verdict: Verdict<I>,
    makes: (input: I, found: I) => boolean
  ): void => {
    objects++
    operations += all.length
    if (verdict.result !== 'linearizable') {
      findings.push({ ...where, result: verdict.result, text: describe(all, verdict), ...spansOf(verdict, makes) })
    }
  }
  for (const { file, page, operations: all } of pagesOf(history, options.pageSize)) {
    const needed = withoutUnseen(all)
    take({ file, page }, all, check(needed, pageModel(needed.map(({ input }) => input)), maxSteps), writesTo)
  }
  for (const { file, operations: all } of sizesOf(history)) {
    take({ file }, all, checkJustInTime(all, sizeModel(initialSize(file)), maxSteps), setsSize)
  }
  return { objects, operations, findings }
}

function spansOf<I>(
  verdict: Exclude<Verdict<I>, { result: 'linearizable' }>,
  makes: (input: I, found: I) => boolean
): Pick<Finding, 'impossible' | 'missing'> {
  if (verdict.result === 'undecided') return {}
  const { reached, stuck } = verdict
  const missing = reached.findLast(({ input }) => makes(input, stuck.input))
  return { impossible: spanOf(stuck), ...(missing !== undefined && { missing: spanOf(missing) }) }
}

function spanOf<I>({ call, return: end }: Operation<I>): Span {
  return { call, return: end }
}

function setsSize({ op }: SizeInput): boolean {
  return op === 'set' || op === 'extend'
}

const SHOWN = 6

function describe<I>(all: readonly Operation<I>[], verdict: Exclude<Verdict<I>, { result: 'linearizable' }>): string {
  if (verdict.result === 'undecided') return `not decided within ${verdict.steps} steps, ${all.length} operations`
  const { reached, stuck } = verdict
  const placed = new Set(reached)
  const open = all.filter((each) => !placed.has(each) && each.call <= stuck.return && each !== stuck)
  return [
    `${reached.length} of ${all.length} operations have an order, which ends with`,
    ...reached.slice(-SHOWN).map(line),
    'and cannot go on with',
    line(stuck),
    ...open.slice(0, SHOWN).map(line)
  ].join('\n')
}

function line<I>({ input, call, return: end }: Operation<I>): string {
  return `  ${call}..${end === Infinity ? '?' : end} ${JSON.stringify(input)}`
}
