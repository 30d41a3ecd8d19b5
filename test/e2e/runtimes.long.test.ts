/**
 * The packed client on each runtime. `QUIRE_RUNTIMES` lists the executables, separated as in `PATH`; the Node that runs
 * the test always takes part. CONTRIBUTING.md says where to get the executables.
 */
import { writeFile } from 'node:fs/promises'
import { basename, delimiter, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ROOT, SET_UP_TIMEOUT_MS, embeddingExample, installTarballs, type PackedProject } from './support/packed.js'

const RUNTIMES = [process.execPath, ...(process.env.QUIRE_RUNTIMES ?? '').split(delimiter).filter(Boolean)]
/** What a client may do under Deno. */
const DENO = ['run', '--no-prompt', '--allow-net', '--allow-env', '--allow-sys']
/**
 * A program under Deno has to exit by itself. libp2p's peer store opens a BroadcastChannel and calls its `unref`, which
 * Deno's does not have, so an open channel keeps the process alive.
 */
const EXIT = '\nprocess.exit()\n'

/** Pins a page that the client owns, and prints how long 200 pins take. No pin needs the network. */
const PINS = `
import { createDsmClient } from '@quire/dsm-client'
const client = await createDsmClient({ peers: process.env.QUIRE_PEERS })
const file = await client.open('/pins', { create: true, size: 4096 })
const memory = await file.mmap()
;(await memory.pin(0, 4, 'write')).release()
const start = performance.now()
for (let i = 0; i < 200; i++) (await memory.pin(0, 4, 'write')).release()
console.log(Math.round(performance.now() - start))
await client.close()
`
const PINS_LIMIT_MS = 2000

let project: PackedProject
let peers: Record<string, string>

beforeAll(async () => {
  project = await installTarballs()
  peers = { QUIRE_PEERS: (await project.startCluster()).join(' ') }
  const programs = { visits: await embeddingExample(join(ROOT, 'README.md')), pins: PINS }
  for (const [name, code] of Object.entries(programs)) {
    await writeFile(join(project.folder, `${name}.mjs`), code)
    await writeFile(join(project.folder, `${name}-exit.mjs`), code + EXIT)
  }
}, SET_UP_TIMEOUT_MS)

afterAll(() => project?.[Symbol.asyncDispose]())

describe.each(RUNTIMES)('on %s, a client from the tarballs', (runtime) => {
  const run = (name: string) =>
    project.run(runtime, basename(runtime).startsWith('deno') ? [...DENO, `${name}-exit.mjs`] : [`${name}.mjs`], peers)

  it('a client from the tarballs runs the example of the README', async () => {
    expect(await run('visits')).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^hello \d+\n$/) as string,
      stderr: ''
    })
  })

  it('a client from the tarballs pins a page that it owns without waiting', async () => {
    const { code, stdout, stderr } = await run('pins')
    expect([code, stderr]).toEqual([0, ''])
    expect(Number(stdout)).toBeLessThan(PINS_LIMIT_MS)
  })
})
