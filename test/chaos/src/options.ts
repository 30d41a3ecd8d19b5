/** The options of `pnpm chaos`. */
import { parseArgs } from 'node:util'
import { FAULT_KINDS, type FaultKind } from './faults/fault.js'

export const USAGE = `usage: pnpm chaos [--minutes M] [--seed S] [--faults KIND,…] [--rate X] [--clients N] [--report FOLDER]
                   [--cluster FILE]

  --minutes M      how long faults are made, about; default 3
  --seed S         decides which faults come, in which order; default: the time
  --faults KINDS   ${FAULT_KINDS.join(', ')}; default: all that this machine can make
  --rate X         makes faults X times as often; default 1
  --clients N      clients, each on a machine of its own; default 3
  --report FOLDER  folder for the report, the histories and the logs; it must not exist; default: a temporary one,
                   which is removed after a run without problems
  --cluster FILE   describes a cluster of your own (docs/chaos.md); default: a cluster that the run makes
  --help           prints this`

export interface Options {
  readonly minutes: number
  readonly seed: number
  readonly faults: readonly FaultKind[] | undefined
  readonly rate: number
  readonly clients: number
  readonly report: string | undefined
  /** Describes the cluster of a user. */
  readonly cluster: string | undefined
}

/** Throws an Error that names the wrong option. */
export function readOptions(args: string[]): Options {
  const { values } = parseArgs({
    args,
    options: {
      minutes: { type: 'string', default: '3' },
      seed: { type: 'string' },
      faults: { type: 'string' },
      rate: { type: 'string', default: '1' },
      clients: { type: 'string', default: '3' },
      report: { type: 'string' },
      cluster: { type: 'string' }
    }
  })
  const minutes = Number(values.minutes)
  const seed = values.seed === undefined ? Date.now() % 2 ** 31 : Number(values.seed)
  const rate = Number(values.rate)
  const clients = Number(values.clients)
  if (!(minutes > 0 && minutes <= 24 * 60)) throw new Error(`--minutes: ${values.minutes} is no time`)
  if (!(rate > 0 && rate <= 100)) throw new Error(`--rate: ${values.rate} is no rate`)
  if (!Number.isSafeInteger(seed) || seed < 0) throw new Error(`--seed: ${values.seed} is no whole number`)
  if (!(Number.isInteger(clients) && clients >= 1 && clients <= 16))
    throw new Error(`--clients: ${values.clients} is no number from 1 to 16`)
  return {
    minutes,
    seed,
    faults: kindsOf(values.faults),
    rate,
    clients,
    report: values.report,
    cluster: values.cluster
  }
}

function kindsOf(text: string | undefined): readonly FaultKind[] | undefined {
  return text?.split(',').map((name) => {
    const kind = FAULT_KINDS.find((each) => each === name)
    if (kind === undefined) throw new Error(`--faults: ${name} is none of ${FAULT_KINDS.join(', ')}`)
    return kind
  })
}
