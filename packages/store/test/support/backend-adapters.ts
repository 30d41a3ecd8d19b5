/** The backends of this package as the compliance suite wants them: on storages that crash and fail on demand. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, statfs, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { NoSpaceError } from '@quire/protocol'
import type { BackendAdapter } from '../../src/backend-compliance/index.js'
import {
  BACKEND_TABLES,
  createLmdbStorage,
  createMemoryStorage,
  PageStoreError,
  type Backend,
  type BackendStorage,
  type MemoryStorage
} from '../../src/pages/index.js'

// -- memory

/** Calls back after one to four turns of the event loop. */
function afterTurns(): (callback: () => void) => void {
  let calls = 0
  const wait = (turns: number, callback: () => void): void => {
    setImmediate(() => (turns > 0 ? wait(turns - 1, callback) : callback()))
  }
  return (callback) => wait(calls++ % 4, callback)
}

export const memoryBackend: BackendAdapter<MemoryStorage> = {
  name: 'createMemoryStorage',
  createStorage: () => createMemoryStorage({ schedule: afterTurns() }),
  open: (storage) => storage.open(),
  openIncoming: (storage) => storage.openIncoming(),
  adoptIncoming: (storage) => storage.adoptIncoming(),
  crash: (storage, random) => storage.crash({ keepPending: random() < 0.5 }),
  setFull: (storage, isFull) => storage.failWith(isFull ? new NoSpaceError('memory') : undefined),
  failWrites: (storage) => storage.failWith(new PageStoreError('memory', 'the disk fails')),
  damage: (storage, value) => {
    const copy = storage.copy().open()
    for (const table of BACKEND_TABLES) {
      for (const [position, [, stored]] of [...copy.entries(table, new Uint8Array(0))].entries()) {
        if (Buffer.compare(stored, value) === 0) storage.damage(table, position, 100)
      }
    }
  }
}

// -- LMDB

const PAGE_BYTES = 4096
/** LMDB's two meta pages, one of which each commit overwrites when its other pages are on disk. */
const META_BYTES = 2 * PAGE_BYTES

interface LmdbFile {
  readonly root: string
  /** A crash moves what survives to a new folder: the dead environment still has the old files. */
  folder: string
  crashes: number
  backends: Backend[]
  /** The file as it was when the last commit resolved: everything up to then is on disk. */
  flushed: Uint8Array
  /** The incoming file, while an adoption runs that a crash may undo. */
  adopting: Uint8Array | undefined
}

function pathOf({ folder }: LmdbFile): string {
  return join(folder, 'pages.lmdb')
}

function storageOf({ folder }: LmdbFile): BackendStorage {
  return createLmdbStorage({ folder, probe: false })
}

export const lmdbBackend: BackendAdapter<LmdbFile> = {
  name: 'createLmdbBackend',
  createStorage: async () => createLmdbFile(await mkdtemp(join(tmpdir(), 'quire-backend-'))),
  open: (file) => {
    const backend = storageOf(file).open()
    file.backends.push(backend)
    file.flushed = imageOf(pathOf(file))
    const commit: Backend['commit'] = async (changes, bytes) => {
      await backend.commit(changes, bytes)
      if (pathOf(file) === backend.name) file.flushed = imageOf(pathOf(file))
    }
    return {
      name: backend.name,
      ...(backend.remedy === undefined ? {} : { remedy: backend.remedy }),
      get: (table, key) => backend.get(table, key),
      entries: (table, prefix) => backend.entries(table, prefix),
      keys: (table, first, end, limit) => backend.keys(table, first, end, limit),
      usage: () => backend.usage(),
      view: () => backend.view(),
      commit,
      close: () => backend.close()
    }
  },
  openIncoming: (file) => {
    const backend = storageOf(file).openIncoming()
    file.backends.push(backend)
    return backend
  },
  adoptIncoming: async (file) => {
    const { folder } = file
    file.adopting = readFileSync(join(folder, 'incoming.lmdb'))
    await createLmdbStorage({ folder, probe: false }).adoptIncoming()
    if (file.folder !== folder) return
    file.flushed = file.adopting
    file.adopting = undefined
  },
  removeStorage: async ({ root, backends }) => {
    for (const backend of backends) await backend.close()
    await rm(root, { recursive: true })
  },
  crash: async (file, random) => {
    const { adopting, flushed } = file
    const adopted = random() < 0.5 ? adopting : flushed
    const image = adopting === undefined ? afterPowerLoss(flushed, imageOf(pathOf(file)), random) : adopted!
    file.adopting = undefined
    file.folder = join(file.root, `${++file.crashes}`)
    await mkdir(file.folder)
    await writeFile(pathOf(file), image)
  },
  failWrites: (file) => rm(pathOf(file)),
  damage: async (file, value) => {
    const bytes = await readFile(pathOf(file))
    for (let at = bytes.indexOf(value); at >= 0; at = bytes.indexOf(value, at + 1)) bytes[at + 12]! ^= 1
    await writeFile(pathOf(file), bytes)
  },
  replace: (file) => writeFile(pathOf(file), new Uint8Array(2 * PAGE_BYTES).fill(7))
}

function createLmdbFile(folder: string): LmdbFile {
  return { root: folder, folder, crashes: 0, backends: [], flushed: new Uint8Array(0), adopting: undefined }
}

/**
 * The file as a crash leaves it now. LMDB writes on in a thread of its own while this reads, the meta page last. The
 * image has the meta pages as they were first, so every page that they name is whole.
 */
function imageOf(path: string): Uint8Array {
  const metas = readFileSync(path).subarray(0, META_BYTES)
  const image = readFileSync(path)
  image.set(metas)
  return image
}

/**
 * The file as a power loss leaves it. LMDB flushes the pages of a commit before it writes the meta page, so a new meta
 * page says that the other pages are on disk; it may itself be lost. Without one, any other new page may be lost or
 * torn.
 */
function afterPowerLoss(flushed: Uint8Array, written: Uint8Array, random: () => number): Uint8Array {
  const image = written.slice()
  if (Buffer.compare(flushed.subarray(0, META_BYTES), written.subarray(0, META_BYTES)) !== 0) {
    if (random() < 0.5) image.set(flushed.subarray(0, META_BYTES))
    return image
  }
  for (let at = META_BYTES; at < image.length; at += PAGE_BYTES) {
    const before = new Uint8Array(PAGE_BYTES)
    before.set(flushed.subarray(at, at + PAGE_BYTES))
    const choice = random()
    if (choice < 0.4) image.set(before.subarray(0, image.length - at), at)
    else if (choice < 0.6) image.set(before.subarray(0, PAGE_BYTES / 2).subarray(0, image.length - at), at)
  }
  return image
}

// -- LMDB on a small disk

/** A file system in memory for each storage, which only root may mount. */
export const canMount = process.getuid?.() === 0 && process.platform === 'linux'

export const lmdbBackendOnSmallDisk: BackendAdapter<LmdbFile> = {
  ...lmdbBackend,
  name: 'createLmdbBackend on a small disk',
  createStorage: async () => {
    const folder = await mkdtemp(join(tmpdir(), 'quire-backend-'))
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', folder])
    return createLmdbFile(folder)
  },
  removeStorage: async ({ root, backends }) => {
    for (const backend of backends) await backend.close()
    execFileSync('umount', ['-l', root])
    await rm(root, { recursive: true })
  },
  setFull: async ({ root }, isFull) => {
    const ballast = join(root, 'other files')
    if (!isFull) return rm(ballast)
    const { bsize, bavail } = await statfs(root)
    await writeFile(ballast, new Uint8Array(bsize * bavail))
    return undefined
  }
}
