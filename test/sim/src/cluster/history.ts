import { judge, type HistoryEvent } from '#linearizability'
import type { ClientView } from '@quire/dsm-client/internal'
import { clientMessage, decodeFrame, PROTOCOL_BULK } from '@quire/protocol'
import type { SimProcess } from '../process.js'
import type { Scheduler } from '../scheduler.js'
import { Violation } from '../violation.js'
import { PAGE_BYTES } from './page-layout.js'

type Facts = 'value' | 'grew' | 'from' | 'to'

/** An operation on bytes that a program is about to call. */
interface Intent extends Pick<HistoryEvent, 'process' | 'file' | 'offset' | 'length' | Facts> {
  readonly op: 'write' | 'exchange' | 'truncate' | 'punch'
}

const MAX_STEPS = 500_000

/**
 * Records the operations of all clients of a seed in true time.
 *
 * It adds the operations that killed clients could not record, and is judged at the end of the seed.
 */
export class History {
  readonly events: HistoryEvent[] = []
  private lastValue = 0

  constructor(private readonly scheduler: Scheduler) {}

  add(event: HistoryEvent): void {
    this.events.push(event)
    const { client, process, file, offset, length, op, value = '', from = '', to = '', status } = event
    const { hash } = this.scheduler
    hash.text(`${client} ${process} ${op} ${status} ${file} ${offset} ${length}`).text(value).text(from).text(to)
  }

  /** A call ended with an error of this name. */
  failed(error: string): void {
    this.scheduler.hash.text(error)
  }

  /** Returns bytes in which every word is the same number, which no other write uses. */
  nextValue(length: number): Uint8Array {
    const value = ++this.lastValue
    const bytes = new Uint8Array(length)
    for (let at = 0; at < length; at++) bytes[at] = value >>> (8 * (at % 4))
    return bytes
  }

  get nowNs(): number {
    return Math.round(this.scheduler.instant() * 1e6)
  }

  /** Throws the first finding. */
  judge(initialSize: (file: string) => number): number {
    const { findings, operations } = judge(this.events, { pageSize: PAGE_BYTES, initialSize, maxSteps: MAX_STEPS })
    const [first] = findings
    if (first === undefined) return operations
    const { file, page, result, text } = first
    const what = page === undefined ? 'size' : 'page'
    const invariant = result === 'undecided' ? 'histories are decidable' : `linearizable ${what}s`
    throw new Violation(invariant, `${what} ${page ?? ''} of file ${file}: ${text}`)
  }
}

/** Encodes bytes as events do. */
export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

/** Records one life of a client. */
export class ClientLog {
  private readonly intents = new Set<Intent & { readonly call: number; readonly files: () => readonly string[] }>()
  /** When bytes of a page last left, by session, file and page. */
  private readonly sent = new Map<string, number>()

  constructor(
    private readonly history: History,
    private readonly client: string,
    private readonly process: SimProcess
  ) {}

  /** For `DsmClientInit.history`. */
  record(event: HistoryEvent): void {
    const { trueNs } = this.process
    this.history.add({ ...event, client: this.client, call: trueNs(event.call), return: trueNs(event.return) })
  }

  /** Records an observation of a program that its client does not record. */
  note(event: Omit<HistoryEvent, 'client' | 'status'>): void {
    this.history.add({ ...event, client: this.client, status: 'ok' })
  }

  /**
   * Begins an operation. The client records its end, unless it is killed before. Call the returned function at its end.
   * `files` names the file later, if it is not known yet.
   */
  begin(intent: Intent, files = (): readonly string[] => [intent.file]): () => void {
    const begun = { ...intent, call: this.history.nowNs, files }
    this.intents.add(begun)
    return () => this.intents.delete(begun)
  }

  /** A frame leaves the client. */
  frameSent(protocol: string, frame: Uint8Array, session: number): void {
    if (protocol !== PROTOCOL_BULK) return
    const { message } = decodeFrame(clientMessage, frame)
    const pages = message.type === 'writeback' || message.type === 'ownerAckDirty' ? message.pages : []
    for (const { file, page } of pages) this.sent.set(`${session} ${file} ${page}`, this.history.nowNs)
  }

  /**
   * The client was killed: operations under way may have happened, and dirty bytes are lost unless bytes that have left
   * become durable.
   */
  killed(view: ClientView | undefined): void {
    const now = this.history.nowNs
    const { history } = this
    for (const { files, ...intent } of this.intents) {
      for (const file of files()) history.add({ ...intent, file, client: this.client, status: 'info', return: now })
    }
    this.intents.clear()
    if (view === undefined || view.isEnded) return
    const process = String(view.session)
    const base = { client: this.client, process, length: PAGE_BYTES, return: now }
    for (const [key, call] of this.sent) {
      const [session, file, page] = key.split(' ') as [string, string, string]
      if (session !== process) continue
      history.add({ ...base, op: 'writeback', status: 'info', file, offset: Number(page) * PAGE_BYTES, call })
    }
    for (const page of view.pages) {
      if (!page.dirty) continue
      const [file, offset] = [String(page.file), page.index * PAGE_BYTES]
      history.add({ ...base, op: 'lost', status: 'ok', file, offset, call: now })
    }
  }
}
