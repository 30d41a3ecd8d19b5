/** The preloaded library that watches how a process changes files (`native/power.c`). */
import { mkdirSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { compile, whyNoCompiler } from '../machines/compiler.js'

/** The folders of one peer. */
export interface PowerFolders {
  /** The watched folder: everything below it can be lost. The folder itself stays. */
  readonly root: string
  /** The journal of what could be undone. It grows with the bytes between two flushes, so memory is a good place. */
  readonly journal: string
  /** Keeps removed files until their removal is durable. It must be on the file system of `root`, and not in it. */
  readonly limbo: string
}

export interface PowerShim {
  /** Makes the folders, and returns the environment for the processes of the peer. */
  environment(folders: PowerFolders): Record<string, string>
}

const SOURCES = ['power.c', 'journal.c']
const FLAGS = ['-fPIC', '-shared', '-pthread']

/** Says why this machine cannot have the shim; undefined if it can. */
export function whyNoPowerShim(): string | undefined {
  if (process.platform !== 'linux') return 'needs Linux'
  const report = process.report.getReport() as { header?: { glibcVersionRuntime?: string } }
  if (report.header?.glibcVersionRuntime === undefined) return 'needs glibc'
  return whyNoCompiler()
}

/** Compiles the shim into `folder`. Resolves with undefined where `whyNoPowerShim` says why. */
export async function buildPowerShim(folder: string): Promise<PowerShim | undefined> {
  if (whyNoPowerShim() !== undefined) return undefined
  const library = join(folder, 'power.so')
  await compile(SOURCES, FLAGS, library)
  return { environment: (folders) => environmentOf(library, folders) }
}

function environmentOf(library: string, { root, journal, limbo }: PowerFolders): Record<string, string> {
  for (const path of [root, journal, limbo]) mkdirSync(path, { recursive: true })
  return {
    LD_PRELOAD: library,
    // The kernel's paths of descriptors have no links.
    QUIRE_POWER_ROOT: realpathSync(root),
    QUIRE_POWER_JOURNAL: realpathSync(journal),
    QUIRE_POWER_LIMBO: realpathSync(limbo),
    // libuv would pass the C library by.
    UV_USE_IO_URING: '0'
  }
}
