import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { afterAll, describe, expect, it } from 'vitest'
import { GoldenEnv } from './support/golden-env.js'
import { parseScript, runScript } from './support/golden-script.js'

/** {@link GoldenEnv} explains the commands. `QUIRE_UPDATE_GOLDEN=1` rewrites the outputs. */
const directory = new URL('./golden/', import.meta.url)
const isUpdate = process.env.QUIRE_UPDATE_GOLDEN === '1'
const updated: string[] = []

describe('golden scripts', () => {
  for (const name of readdirSync(directory).filter((each) => each.endsWith('.txt'))) {
    const file = new URL(name, directory)
    const text = readFileSync(file, 'utf8')
    const script = parseScript(text)
    it(script.title, () => {
      const env = new GoldenEnv()
      const outcome = runScript(`golden/${name}`, script, (command) => env.run(command))
      if (!isUpdate) {
        if (outcome.difference !== undefined) expect.fail(outcome.difference)
      } else if (outcome.text !== text) {
        writeFileSync(file, outcome.text)
        updated.push(name)
      }
    })
  }

  afterAll(() => {
    if (isUpdate) process.stdout.write(`${updated.length} golden scripts changed: ${updated.join(' ')}\n`)
  })
})
