/** The rows of a page store as LMDB files in one folder. */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { createNodeDisk } from '@quire/raft/node-disk'
import type { Backend, BackendStorage } from './backend.js'
import { createLmdbBackend } from './lmdb-backend.js'
import { lmdbError } from './lmdb-errors.js'

const IN_USE = 'pages.lmdb'
const INCOMING = 'incoming.lmdb'

export interface LmdbStorageInit {
  /** The folder of the files, which must exist. */
  readonly folder: string
  /** As `LmdbBackendInit.probe`, for the rows in use. */
  readonly probe?: boolean
}

/** Stores rows in files of a folder. Each method throws or rejects as `createLmdbBackend` does. */
export function createLmdbStorage(init: LmdbStorageInit): BackendStorage {
  return new LmdbStorage(init.folder, init.probe ?? true)
}

/** Keeps the rows in use in one file and incoming rows in another, which takes the place of the first by a rename. */
class LmdbStorage implements BackendStorage {
  private readonly path: string
  private readonly incoming: string

  constructor(
    private readonly folder: string,
    private readonly probe: boolean
  ) {
    this.path = join(folder, IN_USE)
    this.incoming = join(folder, INCOMING)
  }

  open(): Backend {
    this.removeIncoming()
    return createLmdbBackend({ path: this.path, probe: this.probe })
  }

  openIncoming(): Backend {
    this.removeIncoming()
    // Nothing is in the file that could be damaged.
    return createLmdbBackend({ path: this.incoming, probe: false })
  }

  async adoptIncoming(): Promise<void> {
    try {
      const disk = createNodeDisk(this.folder)
      await disk.rename(INCOMING, IN_USE)
      await disk.flushDirectory()
      rmSync(`${this.incoming}-lock`, { force: true })
    } catch (error) {
      throw lmdbError(error, this.incoming)
    }
  }

  private removeIncoming(): void {
    try {
      for (const path of [this.incoming, `${this.incoming}-lock`]) rmSync(path, { force: true })
    } catch (error) {
      throw lmdbError(error, this.incoming)
    }
  }
}
