import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { createRandomSource } from '@quire/testing'
import { expect, onTestFinished } from 'vitest'
import { FAULTS, OWN_FAULTS } from '../../chaos/src/faults/index.js'
import { schedule } from '../../chaos/src/schedule.js'

export const CHAOS = fileURLToPath(new URL('../../chaos/dist/main.js', import.meta.url))

/** What the program has printed, and how it has ended. */
export interface Ended {
  readonly status: number
  readonly output: string
}

/** Runs `pnpm chaos`, and returns all that it prints. */
export async function chaos(...args: readonly string[]): Promise<Ended> {
  return ended([process.execPath, CHAOS, ...args])
}

/** Runs a program to its end. */
export async function ended([program, ...args]: readonly string[]): Promise<Ended> {
  const child = spawn(program!, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  onTestFinished(() => void child.kill('SIGTERM'))
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes: Buffer) => (output += String(bytes)))
  const [status] = (await once(child, 'close')) as [number]
  return { status, output }
}

/** The names of all faults that this machine cannot make. */
export function notMade(): string[] {
  return [...FAULTS, ...OWN_FAULTS].filter((fault) => whyNot(fault) !== undefined).map(({ name }) => name)
}

/** The names of the faults that a run of this seed makes on this machine. */
export function scheduled(minutes: number, seed: number): ReadonlySet<string> {
  const faults = [...FAULTS, ...OWN_FAULTS].filter((fault) => whyNot(fault) === undefined)
  const rounds = schedule(faults, minutes, createRandomSource(seed).fork('schedule'))
  return new Set(rounds.flatMap(({ processes, lines }) => [...processes, ...lines].map(({ name }) => name)))
}

/** The run has found no problem, and has made each of the faults at least once. */
export function expectFine({ status, output }: Ended, faults: Iterable<string>): void {
  expect(output).toContain('no acknowledged write is lost, and the history is linearizable')
  expect(status).toBe(0)
  for (const fault of faults) expect(output).toMatch(new RegExp(`^ *[1-9]\\d* {2}${fault}$`, 'm'))
}

function whyNot(fault: { readonly whyNot?: () => string | undefined }): string | undefined {
  return fault.whyNot?.()
}
