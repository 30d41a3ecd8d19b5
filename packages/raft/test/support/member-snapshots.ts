import { CorruptionError, decode, encode, list, raftEntry } from '@quire/protocol'
import { concat } from 'uint8arrays/concat'
import type { Entry, SnapshotMeta, SnapshotStore } from '../../src/index.js'

const content = list(raftEntry, 1 << 20)

/**
 * Keeps snapshots of a state machine that is the list of its applied entries.
 *
 * They outlive their process.
 */
export class MemberSnapshots implements SnapshotStore {
  newest: SnapshotMeta | undefined
  entries: readonly Entry[] = []
  /** Pieces that a leader has sent. */
  received = 0
  /** Called before a piece is read. If it returns false, the snapshot is gone. */
  onRead: (index: number, offset: number) => boolean = () => true
  /** Number of installations that fail from now on. */
  refusals = 0
  private pieces: Uint8Array[] = []

  constructor(private readonly onInstalled: (entries: Entry[]) => void) {}

  take(snapshot: SnapshotMeta, applied: readonly Entry[]): void {
    this.newest = snapshot
    this.entries = applied.slice(0, snapshot.index)
  }

  read(
    _to: string,
    index: number,
    offset: number,
    maxBytes: number
  ): Promise<{ data: Uint8Array; done: boolean } | undefined> {
    if (!this.onRead(index, offset) || this.newest?.index !== index) return Promise.resolve(undefined)
    const bytes = encode(content, [...this.entries])
    const data = bytes.slice(offset, offset + maxBytes)
    return Promise.resolve({ data, done: offset + data.length === bytes.length })
  }

  write(_: SnapshotMeta, offset: number, data: Uint8Array): Promise<void> {
    this.received++
    if (offset === 0) this.pieces = []
    const stored = this.pieces.reduce((sum, piece) => sum + piece.length, 0)
    if (stored !== offset) return Promise.reject(new Error(`a piece at ${offset} after ${stored} bytes`))
    this.pieces.push(data.slice())
    return Promise.resolve()
  }

  install(snapshot: SnapshotMeta): Promise<void> {
    if (this.refusals > 0) {
      this.refusals--
      return Promise.reject(new CorruptionError('snapshot', 0, 'refused by the test'))
    }
    this.newest = snapshot
    this.entries = decode(content, concat(this.pieces))
    this.onInstalled([...this.entries])
    return Promise.resolve()
  }
}
