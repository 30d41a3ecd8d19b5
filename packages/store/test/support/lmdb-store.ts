/** A page store in a temporary folder, which each test gets anew and the hooks remove. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach } from 'vitest'
import { createLmdbBackend, createPageStore, type Backend } from '../../src/pages/index.js'
import { filled } from '../state-helpers.js'

export let folder: string
/** The path of pages.lmdb in `folder`. */
export let path: string
const opened: Backend[] = []

/** Registers hooks that make a folder before each test, and close what it opened and remove the folder afterwards. */
export function useFolder(): void {
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'quire-pages-'))
    path = join(folder, 'pages.lmdb')
  })

  afterEach(async () => {
    for (const backend of opened.splice(0)) await backend.close()
    await rm(folder, { recursive: true, force: true })
  })
}

/** Opens the file; the hooks close it. */
export function open(): Backend {
  const backend = createLmdbBackend({ path })
  opened.push(backend)
  return backend
}

/** Makes a closed store of some hundred pages, some of which it wrote and removed again. */
export async function makeStore(): Promise<void> {
  const store = createPageStore({ backend: createLmdbBackend({ path }) })
  for (const index of [1, 2, 3]) {
    for (let page = 0; page < 300; page++) store.write(index, page, { version: index, bytes: filled(page) })
    store.remove(index, 250, 260)
    store.freeze(index)
    await store.flush()
  }
  await store.close()
}
