/**
 * Preloaded into a peer (`--import`), it patches the peer's modules as a mutant of the simulation does. A patch whose
 * place is not in its module exactly once keeps the peer from starting.
 */
import { register } from 'node:module'
import { pathToFileURL } from 'node:url'
import type { Change } from '#mutants/mutant'
import type { PatchInit } from '#mutants/patch-hook'

const PATCHES = 'QUIRE_PATCHES'

/** The environment of a peer that runs with these changes; their files are below `packages/`. */
export function patched(changes: readonly Change[]): Record<string, string> {
  const patches = changes.map(({ file, find, replace }) => ({ file: `packages/${file}`, find, replace }))
  return { [PATCHES]: JSON.stringify(patches), NODE_OPTIONS: `--import=${import.meta.url}` }
}

const patches = process.env[PATCHES]
if (patches !== undefined) {
  const data: PatchInit = { patches: JSON.parse(patches) as Change[], applied: new SharedArrayBuffer(4) }
  register<PatchInit>(import.meta.resolve('#mutants/patch-hook'), { parentURL: pathToFileURL('/'), data })
}
