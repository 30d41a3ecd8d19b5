/** A worker that runs seeds with one mutant. */
import { register } from 'node:module'
import { parentPort, workerData } from 'node:worker_threads'
import type { Mutant } from './mutant.js'
import type { Patch } from './patch-hook.js'

export interface MutantTask {
  readonly mutant: Mutant
  readonly from: number
  readonly seeds: number
}

export type MutantReport =
  | { readonly type: 'seed'; readonly seed: number }
  | { readonly type: 'caught'; readonly seed: number; readonly invariant: string; readonly message: string }
  | { readonly type: 'survived' }
  | { readonly type: 'error'; readonly message: string }

const report = (message: MutantReport): void => parentPort!.postMessage(message)

async function run({ mutant, from, seeds }: MutantTask): Promise<void> {
  const applied = new SharedArrayBuffer(4)
  const { file, find, replace } = mutant
  register<Patch>('./patch-hook.js', import.meta.url, {
    data: { file: `packages/raft/dist/${file}`, find, replace, applied }
  })
  // Only now: what is loaded before is not patched.
  const { simulateRaft } = await import('./simulation.js')
  const { signature } = await import('./minimise.js')
  if (Atomics.load(new Int32Array(applied), 0) !== 1) throw new Error(`${file} was not loaded`)
  for (let seed = from; seed < from + seeds; seed++) {
    const result = await simulateRaft({ seed })
    const invariant = signature(result)
    if (invariant !== undefined) return report({ type: 'caught', seed, invariant, message: result.failure!.message })
    report({ type: 'seed', seed })
  }
  report({ type: 'survived' })
}

run(workerData as MutantTask).catch((error: unknown) => report({ type: 'error', message: (error as Error).message }))
