/** The operations of clients, one event each: the history format of the public API, as NDJSON. */

export type HistoryOp =
  | 'read'
  | 'write'
  | 'add'
  | 'exchange'
  | 'cas'
  | 'sync'
  /** Truncates to the size `offset`. */
  | 'truncate'
  | 'punch'
  /** Saw the size `offset`. */
  | 'size'
  | 'lock'
  | 'unlock'
  /**
   * The bytes of the pages in the range, as they were at `call`, are durable at `return` (`ok`), or may be (`info`).
   */
  | 'writeback'
  /** The session ended, and what it had not made durable of the range is lost. */
  | 'lost'

export interface HistoryEvent {
  readonly client: string
  /** The session. A client that loses its session continues under another one. */
  readonly process: string
  readonly file: string
  /** In bytes. */
  readonly offset: number
  readonly length: number
  readonly op: HistoryOp
  /**
   * Hexadecimal. The bytes that were read or written; the operand of an atomic operation, and the new value of `cas`.
   */
  readonly value?: string
  /** Of an atomic operation: the bytes before, or for `cas` the expected ones, and the bytes after. */
  readonly from?: string
  readonly to?: string
  /** Of `write`: false if the file was not extended for it. */
  readonly grew?: boolean
  /** Of `cas`: whether the bytes were as expected. */
  readonly ok?: boolean
  /** `fail`: it certainly did not happen. `info`: it may have. */
  readonly status: 'ok' | 'fail' | 'info'
  /** Nanoseconds of one monotonic clock. */
  readonly call: number
  readonly return: number
}

/** Says which line of a history is malformed. */
export class HistoryFormatError extends Error {
  override readonly name = 'HistoryFormatError'
  constructor(
    readonly line: number,
    readonly reason: string
  ) {
    super(`line ${line}: ${reason}`)
  }
}

/** Skips blank lines. Throws HistoryFormatError. */
export function parseHistory(text: string): HistoryEvent[] {
  const events: HistoryEvent[] = []
  for (const [i, line] of text.split('\n').entries()) {
    if (line.trim() === '') continue
    let value: unknown
    try {
      value = JSON.parse(line)
    } catch (error) {
      throw new HistoryFormatError(i + 1, (error as Error).message)
    }
    const reason = whyNoEvent(value)
    if (reason !== undefined) throw new HistoryFormatError(i + 1, reason)
    events.push(value as HistoryEvent)
  }
  return events
}

const OPS: readonly string[] = 'read write add exchange cas sync truncate punch size lock unlock writeback lost'.split(
  ' '
)

function whyNoEvent(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null) return 'not an object'
  const event = value as Record<string, unknown>
  for (const name of ['client', 'process', 'file', 'op', 'status']) {
    if (typeof event[name] !== 'string') return `${name} is ${JSON.stringify(event[name])}`
  }
  for (const name of ['offset', 'length', 'call', 'return']) {
    if (typeof event[name] !== 'number' || event[name] < 0) return `${name} is ${JSON.stringify(event[name])}`
  }
  if (!OPS.includes(event.op as string)) return `op is ${JSON.stringify(event.op)}`
  if (!['ok', 'fail', 'info'].includes(event.status as string)) return `status is ${JSON.stringify(event.status)}`
  for (const name of ['value', 'from', 'to']) {
    const bytes = event[name]
    if (bytes !== undefined && !(typeof bytes === 'string' && /^([0-9a-f]{2})*$/.test(bytes))) {
      return `${name} is ${JSON.stringify(bytes)}`
    }
  }
  return undefined
}
