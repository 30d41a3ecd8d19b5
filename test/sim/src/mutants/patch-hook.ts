/** Patches modules while Node's module loader loads them, by `module.register`. The product knows nothing of it. */
import type { InitializeHook, LoadHook } from 'node:module'

interface Patch {
  /** The end of the module's URL. */
  readonly file: string
  readonly find: string
  readonly replace: string
}

export interface PatchInit {
  readonly patches: readonly Patch[]
  /** One int32, which each applied patch increments. */
  readonly applied: SharedArrayBuffer
}

let init: PatchInit | undefined

export const initialize: InitializeHook<PatchInit> = (data) => {
  init = data
}

export const load: LoadHook = async (url, context, nextLoad) => {
  const loaded = await nextLoad(url, context)
  const patches = init?.patches.filter(({ file }) => url.endsWith(`/${file}`)) ?? []
  if (init === undefined || patches.length === 0) return loaded
  let source = typeof loaded.source === 'string' ? loaded.source : new TextDecoder().decode(loaded.source)
  for (const { file, find, replace } of patches) {
    const parts = source.split(find)
    if (parts.length !== 2) throw new Error(`${file}: the patch's place is there ${parts.length - 1} times, not once`)
    source = parts.join(replace)
    Atomics.add(new Int32Array(init.applied), 0, 1)
  }
  return { ...loaded, source }
}
