import { raftEntryBytes } from '@quire/protocol'
import type { Entry, HardState, SnapshotMeta } from '../core/types.js'
import { BATCH_BYTES } from './batch.js'
import type { LogWrite } from './types.js'

/** An append that is not durable yet. `batched` of its entries are in a batch, `written` of them in a durable one. */
export interface PendingAppend {
  readonly write: LogWrite
  batched: number
  written: number
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

/** What the next batch takes from the queue, and how many appends are complete with it. */
export interface Gathered {
  readonly reset: SnapshotMeta | undefined
  readonly hardState: HardState | undefined
  readonly entries: readonly Entry[]
  readonly complete: number
}

/** Forms batches of the appends that are not durable yet. */
export class AppendQueue {
  private readonly pending: PendingAppend[] = []

  get isEmpty(): boolean {
    return this.pending.length === 0
  }

  /** Whether the next append is more than a hard state. */
  get nextChangesLog(): boolean {
    return this.pending.length > 0 && changesLog(this.pending[0]!.write)
  }

  /** Whether any append is more than a hard state. */
  get changesLog(): boolean {
    return this.pending.some(({ write }) => changesLog(write))
  }

  /** Settles when the append is durable, or was given back. */
  push(write: LogWrite): Promise<void> {
    return new Promise((resolve, reject) => {
      this.pending.push({ write, batched: 0, written: 0, resolve, reject })
    })
  }

  /** The appends that are in the queue now, oldest first. */
  all(): readonly PendingAppend[] {
    return this.pending.slice()
  }

  remove(count: number): void {
    this.pending.splice(0, count)
  }

  rejectAll(error: Error): void {
    for (const { reject } of this.pending.splice(0)) reject(error)
  }

  /** Called when the batch that was gathered last is durable; the first `complete` appends are complete with it. */
  batchWritten(complete: number): void {
    for (const { resolve } of this.pending.splice(0, complete)) resolve()
    // Only the next append can have a part of its entries in that batch.
    const next = this.pending[0]
    if (next !== undefined) next.written = next.batched
  }

  /** Takes what fits the next batch; with `statesOnly`, hard states up to the first append that is more than one. */
  gather(statesOnly: boolean): Gathered {
    let reset: SnapshotMeta | undefined
    let hardState: HardState | undefined
    let complete = 0
    let bytes = 0
    const entries: Entry[] = []
    for (const append of this.pending) {
      const { write } = append
      if (statesOnly && changesLog(write)) break
      if (append.batched === 0 && write.reset !== undefined) {
        // A reset begins a segment, and therefore a batch.
        if (complete > 0) break
        reset = write.reset
      }
      // The hard state comes before the append's entries: no entry may be durable before its term is (Figure 2).
      if (append.batched === 0 && write.hardState !== undefined) hardState = write.hardState
      while (append.batched < write.entries.length) {
        const entry = write.entries[append.batched]!
        bytes += raftEntryBytes(entry)
        // The entries of a batch are consecutive. An entry that replaces one of them belongs to the next batch.
        const last = entries.at(-1)
        if (last !== undefined && (bytes > BATCH_BYTES || entry.index <= last.index)) {
          return { reset, hardState, entries, complete }
        }
        entries.push(entry)
        append.batched++
      }
      complete++
    }
    return { reset, hardState, entries, complete }
  }
}

/** Whether a write adds entries, or starts the log anew. */
export function changesLog({ reset, entries }: LogWrite): boolean {
  return reset !== undefined || entries.length > 0
}
