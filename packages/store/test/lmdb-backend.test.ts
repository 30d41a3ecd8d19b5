import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { createLmdbBackend, createPageStore } from '../src/pages/index.js'
import { filled } from './state-helpers.js'

let folder = ''

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quire-lmdb-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

it('reads pages back from LMDB, whose buffers are lent for one read only', async () => {
  const store = createPageStore({ backend: createLmdbBackend({ path: join(folder, 'pages.lmdb') }) })
  const pages = [1, 2, 3].map((page) => ({ version: page, bytes: filled(page) }))
  for (const [page, stored] of pages.entries()) store.write(1, page, stored)
  store.freeze(3)
  await store.flush()
  const read = pages.map((_, page) => store.read(1, page))
  expect(read).toEqual(pages)
  await store.close()
})
