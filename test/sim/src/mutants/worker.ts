/** A worker that runs seeds with one mutant. */
import { register } from 'node:module'
import { parentPort, workerData } from 'node:worker_threads'
import type { RunSeed } from '../explain.js'
import type { Mutant, Suite } from './mutant.js'
import type { PatchInit } from './patch-hook.js'

export interface MutantTask {
  readonly suite: Suite['name']
  readonly root: string
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

async function run({ suite, root, mutant, from, seeds }: MutantTask): Promise<void> {
  const applied = new SharedArrayBuffer(4)
  const patches = [mutant, ...(mutant.and ?? [])].map(({ file, find, replace }) => ({
    file: `${root}${file}`,
    find,
    replace
  }))
  register<PatchInit>('./patch-hook.js', import.meta.url, { data: { patches, applied } })
  // Import only now: modules that were loaded before stay unpatched.
  const simulate: RunSeed =
    suite === 'raft'
      ? (await import('../raft/simulation.js')).simulateRaft
      : (await import('../cluster/simulation.js')).simulate
  const { signature } = await import('../minimize.js')
  const count = Atomics.load(new Int32Array(applied), 0)
  if (count !== patches.length) throw new Error(`${count} of ${patches.length} patches were loaded`)
  const { mix } = mutant
  const { hasMix } = await import('../cluster/settings.js')
  let left = seeds
  for (let seed = from; left > 0; seed++) {
    if (mix !== undefined && !hasMix(seed, mix)) continue
    left--
    const result = await simulate({ seed })
    const invariant = signature(result)
    if (invariant !== undefined) return report({ type: 'caught', seed, invariant, message: result.failure!.message })
    report({ type: 'seed', seed })
  }
  report({ type: 'survived' })
}

run(workerData as MutantTask).catch((error: unknown) => report({ type: 'error', message: (error as Error).message }))
