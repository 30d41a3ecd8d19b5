import type { RaftMessage } from '@quire/protocol'
import type { Scheduler } from '../scheduler.js'
import type { SimNode } from './node.js'

/** Labels of timers, disks and clients, which the trace shows by their effects. */
const DULL = /timer$|disk$|^reader|^operator|^client/

/**
 * Prints a run for a reader.
 *
 * It shows events, messages, and changes at the nodes.
 */
export class Tracer {
  private readonly shown = new Map<string, string>()

  constructor(
    private readonly scheduler: Scheduler,
    private readonly write: (line: string) => void
  ) {
    scheduler.onTrace = ({ label }) => {
      // The trace shows a message when it is delivered, with its content.
      if (!DULL.test(label) && !label.includes('>')) this.note(label)
    }
  }

  note(text: string): void {
    this.write(`${this.scheduler.now.toFixed(3).padStart(10)}  ${text}`)
  }

  message(label: string, message: RaftMessage): void {
    this.note(`${label} ${describe(message)}`)
  }

  /** After an event: prints what changed at a node that it touched. */
  node({ name, status, watched, life }: SimNode): void {
    const text =
      status === undefined
        ? 'down'
        : `${status.role} of ${status.term}, log ${status.firstIndex}..${status.lastIndex} flushed ${watched.lastIndex}, ` +
          `commit ${status.commitIndex}, applied ${status.appliedIndex}, ${members(status)}`
    const line = `life ${life}: ${text}`
    if (this.shown.get(name) === line) return
    this.shown.set(name, line)
    this.note(`    ${name} ${line}`)
  }
}

function members({ voters, outgoing, learners }: NonNullable<SimNode['status']>): string {
  const parts = [`voters ${voters.join(' ')}`]
  if (outgoing.length > 0) parts.push(`outgoing ${outgoing.join(' ')}`)
  if (learners.length > 0) parts.push(`learners ${learners.join(' ')}`)
  return parts.join(', ')
}

function describe(message: RaftMessage): string {
  return JSON.stringify(message, (key, value: unknown) => {
    if (key === 'type') return undefined
    if (value instanceof Uint8Array) return `<${value.length}>`
    if (key === 'entries') {
      const entries = value as readonly { readonly index: number; readonly term: number; readonly kind: string }[]
      return entries.map(({ index, term, kind }) => `${index}:${term}${kind === 'normal' ? '' : ` ${kind}`}`).join(' ')
    }
    return value
  })
}
