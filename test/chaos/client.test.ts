/** A client of a run. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { Client } from './src/client/client.js'

it('a client that is killed before it has done anything leaves an empty history and no notes', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'quire-chaos-client-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const of = (name: string): string => join(folder, name)
  const machine = { name: 'client1', address: '127.0.0.1', on: () => ['sleep', '60'] }
  const files = { history: of('history'), begun: of('begun'), notes: of('notes') }
  const ask = { peers: [], folder: '', index: 1, seat: 1, seed: 1, sessionTtlMs: 1, faultTimeoutMs: 1, ...files }
  const client = new Client({ machine, ask, log: of('log'), onReport: () => {} })
  await client.kill()
  expect([readFileSync(files.history, 'utf8'), readFileSync(files.notes, 'utf8')]).toEqual(['', ''])
})
