import { readFileSync, readdirSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { runChild } from './helpers.js'

/** An import of libp2p's code, static or dynamic; imports of types vanish. */
const LIBP2P_IMPORT = /(^import (?!type ).*|\bimport\()'(libp2p|@libp2p\/|@chainsafe\/)/m

describe('Promise.withResolvers', () => {
  it('is missing on Node 20, and with the polyfill a dial succeeds', async () => {
    expect(await runChild('with-resolvers', ['with'])).toEqual({ output: 'echoed', code: 0 })
  })

  it('is needed: without it the dial fails', async () => {
    expect(await runChild('with-resolvers', ['without'])).toEqual({ output: 'ERR_DIAL', code: 0 })
  })

  it('comes first in every module that imports libp2p', () => {
    const folder = new URL('../src/', import.meta.url)
    const checked: string[] = []
    for (const name of readdirSync(folder, { encoding: 'utf8', recursive: true })) {
      if (!name.endsWith('.ts')) continue
      const text = readFileSync(new URL(name, folder), 'utf8')
      if (!LIBP2P_IMPORT.test(text)) continue
      checked.push(name)
      expect(/^import (?!type ).*$/m.exec(text)?.[0], name).toMatch(/^import '(\.|\.\.\/portable)\/polyfill\.js'$/)
    }
    expect(checked).toContain('node/create-network.ts')
  })
})
