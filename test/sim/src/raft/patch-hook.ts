/** Patches one module while it is loaded: for Node's module loader, by `module.register`. The product knows nothing of it. */
import type { InitializeHook, LoadHook } from 'node:module'

export interface Patch {
  /** The end of the module's URL. */
  readonly file: string
  readonly find: string
  readonly replace: string
  /** One int32, raised when the patch is in. */
  readonly applied: SharedArrayBuffer
}

let patch: Patch | undefined

export const initialize: InitializeHook<Patch> = (data) => {
  patch = data
}

export const load: LoadHook = async (url, context, nextLoad) => {
  const loaded = await nextLoad(url, context)
  if (patch === undefined || !url.endsWith(`/${patch.file}`)) return loaded
  const { source } = loaded
  const text = typeof source === 'string' ? source : new TextDecoder().decode(source)
  const parts = text.split(patch.find)
  if (parts.length !== 2)
    throw new Error(`${patch.file}: the patch's place is there ${parts.length - 1} times, not once`)
  Atomics.add(new Int32Array(patch.applied), 0, 1)
  return { ...loaded, source: parts.join(patch.replace) }
}
