import { readInstalled, type Backend, type BackendStorage } from '@quire/store/internal'

/**
 * How far a snapshot has come in one life of a peer: its pieces arrive, the rows are being adopted, or they are adopted
 * and the log does not start after them yet.
 */
type Stage = 'none' | 'receiving' | 'adopting' | 'adopted'

interface WatchedRowsInit {
  readonly storage: BackendStorage
  /** The first piece of a snapshot has arrived. */
  readonly onReceiving: () => void
  readonly onAdopting: () => void
  readonly onAdopted: () => void
}

/** Watches from below how snapshots replace the rows of one life of a peer. */
export class WatchedRows implements BackendStorage {
  stage: Stage = 'none'
  private backend: Backend | undefined

  constructor(private readonly init: WatchedRowsInit) {}

  /** The rows say that they were installed, and the log may not know it. */
  get hasInstallationRecord(): boolean {
    return this.stage !== 'adopting' && this.backend !== undefined && readInstalled(this.backend) !== undefined
  }

  open(): Backend {
    this.backend = this.init.storage.open()
    return this.backend
  }

  openIncoming(): Backend {
    this.stage = 'receiving'
    this.init.onReceiving()
    return this.init.storage.openIncoming()
  }

  async adoptIncoming(): Promise<void> {
    this.stage = 'adopting'
    this.init.onAdopting()
    await this.init.storage.adoptIncoming()
    this.stage = 'adopted'
    this.init.onAdopted()
  }
}
