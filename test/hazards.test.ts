import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'

/** Mistakes of earlier distributed shared memories and cluster file systems. Each has a test of this name. */
const HAZARDS = [
  'fault between unmap and evict',
  'truncate then re-extend while a fault waits',
  'refill between evict and free',
  'read/write whose buffer maps the same file (self-deadlock)',
  'grant arriving after the revoke of a newer term',
  'release crossing a revoke',
  'keep-alive acknowledged by a deposed leader',
  'client paused (SIGSTOP) past its lease and resumed in the middle of a read',
  'prefetched page not in the copyset',
  'retry of a fault after its grant was committed but lost',
  'owner dies between transfer commit and grant',
  'leader dies between invalidations and transfer commit',
  'writeback accepted twice',
  'page owned by an expired session',
  'false sharing between two writers'
]

const root = join(import.meta.dirname, '..')

async function testTexts(): Promise<string> {
  const folders = ['test', ...(await readdir(join(root, 'packages'))).map((name) => join('packages', name, 'test'))]
  const texts: string[] = []
  for (const folder of folders) {
    for (const name of await readdir(join(root, folder), { recursive: true })) {
      const isOther = name.endsWith('.test.ts') && name !== 'hazards.test.ts' && !name.includes('node_modules')
      if (isOther) texts.push(await readFile(join(root, folder, name), 'utf8'))
    }
  }
  return texts.join('\n')
}

describe('the hazards of shared memory', async () => {
  const texts = await testTexts()
  it.each(HAZARDS)('have a test named: %s', (hazard) => {
    expect([`'hazard: ${hazard}`, `it('${hazard}`].some((name) => texts.includes(name))).toBe(true)
  })
})
