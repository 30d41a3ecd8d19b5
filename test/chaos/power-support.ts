/** Programs that change files and are killed, on a machine that loses its power. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createRandomSource } from '@quire/testing'
import { afterAll, beforeAll, expect, onTestFinished } from 'vitest'
import type { Lose } from './src/power/loss.js'
import { losePower, type PowerLoss } from './src/power/restore.js'
import { buildPowerShim, whyNoPowerShim, type PowerFolders, type PowerShim } from './src/power/shim.js'

const problem = whyNoPowerShim()
/** Whether this machine cannot lose power, and a suffix of titles that says why. */
export const noPower = problem !== undefined
export const unlessNoPower = problem === undefined ? '' : ` (skipped: ${problem})`

export const SECTOR = 512
const KILL = "process.kill(process.pid, 'SIGKILL')"

export class Machine {
  readonly root: string
  readonly folders: PowerFolders
  readonly environment: Record<string, string>

  /** `disk` is the folder of its files; default: one of the system's. */
  constructor(shim: PowerShim, disk?: string) {
    const folder = mkdtempSync(join(tmpdir(), 'quire-power-'))
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
    this.root = join(disk ?? folder, 'root')
    this.folders = { root: this.root, journal: join(folder, 'journal'), limbo: join(disk ?? folder, 'limbo') }
    this.environment = { ...(process.env as Record<string, string>), ...shim.environment(this.folders) }
  }

  path(name: string): string {
    return join(this.root, name)
  }

  /** Makes a file that is durable. */
  make(name: string, content: string | Uint8Array): void {
    writeFileSync(this.path(name), content)
  }

  text(name: string): string {
    return readFileSync(this.path(name), 'utf8')
  }

  /** Runs a program in the root, with all of `node:fs` in scope, and kills it at its end. */
  run(program: string): void {
    this.runToItsEnd(['-e', `with (require('node:fs')) { ${program} }; ${KILL}`])
  }

  /** Runs a module in the root, and kills it at its end. */
  runModule(program: string): void {
    this.runToItsEnd(['--input-type=module', '-e', `${program}; ${KILL}`])
  }

  lose(lose: Lose = 'everything', seed = 1): PowerLoss {
    return losePower({ ...this.folders, random: createRandomSource(seed), lose })
  }

  private runToItsEnd(args: readonly string[]): void {
    const { signal, stderr } = spawnSync(process.execPath, args, {
      cwd: this.root,
      env: this.environment,
      encoding: 'utf8'
    })
    expect({ signal, stderr }).toEqual({ signal: 'SIGKILL', stderr: '' })
  }
}

/** The shim, compiled before the first test of a file and removed after the last one. */
export function useShim(): { readonly shim: PowerShim } {
  const used: { shim: PowerShim } = { shim: { environment: () => ({}) } }
  let folder: string | undefined
  beforeAll(async () => {
    if (noPower) return
    folder = mkdtempSync(join(tmpdir(), 'quire-shim-'))
    used.shim = (await buildPowerShim(folder))!
  }, 60_000)
  afterAll(() => {
    if (folder !== undefined) rmSync(folder, { recursive: true })
  })
  return used
}
