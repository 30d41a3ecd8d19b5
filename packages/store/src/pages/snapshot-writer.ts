import type { RaftSnapshot } from '@quire/protocol'
import type { Backend, BackendChange } from './backend.js'
import { INSTALLED_KEY, snapshotValue } from './record-rows.js'
import { SnapshotPieces } from './snapshot-pieces.js'

/** One commit takes this many bytes of pieces, so that a large snapshot needs few flushes. */
const COMMIT_BYTES = 4 * 1024 * 1024

/** Writes a snapshot that arrives in pieces to a backend, which it owns. */
export class SnapshotWriter {
  /** Bytes of the pieces so far. */
  bytes = 0
  private readonly pieces: SnapshotPieces
  /** Rows that are not committed yet. */
  private pending: BackendChange[] = []
  private pendingBytes = 0

  constructor(
    private readonly backend: Backend,
    readonly snapshot: RaftSnapshot
  ) {
    this.pieces = new SnapshotPieces({ name: `snapshot ${snapshot.index}` }, snapshot.index)
  }

  /** `flush` should come before the next piece. */
  get isFull(): boolean {
    return this.pendingBytes >= COMMIT_BYTES
  }

  /** Takes the next piece, and keeps `data`. Throws CorruptionError if the piece is damaged or not the next one. */
  add(data: Uint8Array): void {
    this.pending.push(...this.pieces.add(data))
    this.pendingBytes += data.length
    this.bytes += data.length
  }

  /** Adds the record of the installation. Throws CorruptionError unless the pieces form the whole snapshot. */
  complete(): void {
    this.pieces.checkComplete()
    const value = snapshotValue(INSTALLED_KEY, this.snapshot)
    this.pending.push({ table: 'records', key: INSTALLED_KEY, value })
  }

  /** Resolves when everything added is durable. Rejects as `Backend.commit`; the caller may then repeat the call. */
  async flush(): Promise<void> {
    await this.backend.commit(this.pending, this.pendingBytes)
    this.pending = []
    this.pendingBytes = 0
  }

  close(): Promise<void> {
    return this.backend.close()
  }
}
