/** What a history says of a client that was killed. */
import { existsSync, readFileSync } from 'node:fs'
import type { HistoryEvent } from '#linearizability'

/** A change that a client has begun. Its history gets the line when it ends. */
export type Begun = Pick<HistoryEvent, 'op' | 'file' | 'offset' | 'length' | 'call'> &
  Partial<Pick<HistoryEvent, 'value' | 'grew'>>

export interface EpitaphInit {
  /** What the client has written. Its last line may be cut off. */
  readonly history: string
  /** The newest change that it has begun. */
  readonly begun: Begun | undefined
  /** The files of the history, with the most bytes that they have had. */
  readonly sizes: ReadonlyMap<string, number>
  /** When the process was gone, in nanoseconds of the machine's clock. */
  readonly atNs: number
}

/** What the file says; undefined if the client was killed before it had begun a change. */
export function begunIn(file: string): Begun | undefined {
  if (!existsSync(file)) return undefined
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Begun
  } catch {
    // It was killed while it wrote the file, so the change has not begun, and the one before has ended.
    return undefined
  }
}

/** Returns the whole history, whose last lines say that the session is lost, and what may have happened. */
export function withEpitaph({ history, begun, sizes, atNs }: EpitaphInit): string {
  // A line that was cut off is that of an operation whose effect has not left the process, or that has no effect.
  const whole = history.slice(0, history.lastIndexOf('\n') + 1)
  const events = whole.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line) as HistoryEvent]))
  const { client, process } = events.at(-1) ?? { client: 'killed', process: 'killed' }
  const base = { client, process, return: atNs }
  const added: HistoryEvent[] = []
  if (begun !== undefined && !events.some(({ op, call }) => op === begun.op && call >= begun.call))
    added.push({ ...base, ...begun, status: 'info' })
  for (const [file, length] of sizes) {
    const all = { ...base, file, offset: 0, length, call: atNs }
    // Bytes that were on their way may have arrived.
    added.push({ ...all, op: 'writeback', status: 'info' }, { ...all, op: 'lost', status: 'ok' })
  }
  return whole + added.map((event) => `${JSON.stringify(event)}\n`).join('')
}
