import { readFileSync, readdirSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { runChild } from './helpers.js'

/** A static or dynamic import of libp2p's code. The build removes imports of types. */
const LIBP2P_IMPORT = /(^import (?!type ).*|\bimport\()'(libp2p|@libp2p\/|@chainsafe\/)/m

describe('Promise.withResolvers', () => {
  it('Promise.withResolvers comes from the polyfill where the runtime has none, and a dial succeeds', async () => {
    expect(await runChild('with-resolvers', ['with'])).toEqual({ output: 'echoed', code: 0 })
  })

  it('Promise.withResolvers is needed: without it a dial fails', async () => {
    expect(await runChild('with-resolvers', ['without'])).toEqual({ output: 'ERR_DIAL', code: 0 })
  })

  it('Promise.withResolvers is polyfilled by the first import of every module that imports code of libp2p', () => {
    const folder = new URL('../src/', import.meta.url)
    const checked: string[] = []
    for (const name of readdirSync(folder, { encoding: 'utf8', recursive: true })) {
      if (!name.endsWith('.ts')) continue
      const text = readFileSync(new URL(name, folder), 'utf8')
      if (!LIBP2P_IMPORT.test(text)) continue
      checked.push(name)
      expect(/^import (?!type ).*$/m.exec(text)?.[0], name).toMatch(/^import '(\.|\.\.|\.\.\/portable)\/polyfill\.js'$/)
    }
    expect(checked).toContain('node/create-network.ts')
  })
})
