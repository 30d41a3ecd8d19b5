/**
 * The demo that `npm start` runs: three peers, two clients, one large file, and the death of the leader in the middle.
 * The exit status is 0 only if every check holds.
 */
import { createHash } from 'node:crypto'
import { createReadStream, mkdtempSync, rmSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createChildren, type Children } from './children.js'
import { createOutput, mebibytes, type Output } from './output.js'
import { USAGE, UsageError, parseOptions, type Options } from './options.js'
import { runDemo } from './scenario.js'

async function main(): Promise<number> {
  let options: Options | 'help'
  try {
    options = parseOptions(process.argv.slice(2))
  } catch (error) {
    console.error(error instanceof UsageError ? `${error.message}\n${USAGE}` : (error as Error).message)
    return error instanceof UsageError ? 2 : 1
  }
  if (options === 'help') {
    console.log(USAGE)
    return 0
  }

  const output = createOutput()
  const children = createChildren()
  const folder = mkdtempSync(join(tmpdir(), 'quire-demo-'))
  // Removes the data of the peers however this process ends, unless by SIGKILL.
  process.on('exit', () => rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 }))
  const stopped = endRequested()
  try {
    const work = runWith(options, output, children, folder)
    work.catch(() => {})
    const signal = await Promise.race([work, stopped, children.failure, deadline(options.deadlineMs)])
    if (signal !== undefined) {
      output.say(`stopped by ${signal}`)
      return 128 + constants.signals[signal]
    }
  } catch (error) {
    output.check(false, (error as Error).message)
  } finally {
    await children.endAll()
  }
  const { held, failed } = output.checks
  output.say(failed === 0 ? `all ${held} checks held` : `${failed} of ${held + failed} checks failed`)
  return failed === 0 && held > 0 ? 0 : 1
}

async function runWith(options: Options, output: Output, children: Children, folder: string): Promise<undefined> {
  const { file, fileBytes, seed, kill } = options
  const moment = 'afterMs' in kill ? `after ${kill.afterMs} ms` : `at ${(100 * kill.fraction).toFixed(1)} %`
  output.say(`three peers, two clients, ${file} of ${mebibytes(fileBytes)}`)
  output.say(`the leader will be killed ${moment} of the counting (seed ${seed})`)
  await runDemo({ options, output, children, folder, sha256: await digestOf(file) })
}

async function digestOf(file: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(file), hash)
  return hash.digest('hex')
}

/** Resolves with the signal that asks the demo to end. */
function endRequested(): Promise<'SIGINT' | 'SIGTERM' | 'SIGHUP'> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => resolve(signal))
  })
}

function deadline(ms: number): Promise<never> {
  return new Promise((_, reject) => {
    setTimeout(() => reject(new Error(`not done within ${ms / 1000} s`)), ms).unref()
  })
}

process.exit(await main())
