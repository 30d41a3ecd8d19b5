import type { IdentityStorage } from './identity.js'

/** Stores an identity in memory, for tests and the simulator. A crash loses what is not durable. */
export interface MemoryIdentity extends IdentityStorage {
  /** The process ends: a write that has not ended is lost. */
  crash(): void
  /**
   * Returns a copy of the folder: an identity with everything that is durable here. Without a `schedule`, it shares
   * that of this one.
   */
  copy(schedule?: MemoryIdentityInit['schedule']): MemoryIdentity
}

export interface MemoryIdentityInit {
  readonly incarnation: string
  /** Default false. */
  readonly joined?: boolean
  /** Calls `done` when a write is to become durable. Default: at once. */
  readonly schedule?: (done: () => void) => void
}

export function createMemoryIdentity(init: MemoryIdentityInit): MemoryIdentity {
  return identityIn(init, init.joined ?? false, '')
}

function identityIn(init: MemoryIdentityInit, admitted: boolean, remembered: string): MemoryIdentity {
  const { incarnation, joined = false, schedule = (done: () => void) => done() } = init
  let life = 0
  /** The write that waits for the present one. */
  let next: { text: string; readonly promise: Promise<void>; readonly resolve: () => void } | undefined
  let isWriting = false
  const write = (): void => {
    if (next === undefined) return
    const { text, resolve } = next
    const at = life
    next = undefined
    isWriting = true
    schedule(() => {
      if (at !== life) return
      remembered = text
      isWriting = false
      resolve()
      write()
    })
  }
  return {
    incarnation,
    joined,
    get admitted() {
      return admitted
    },
    get remembered() {
      return remembered
    },
    admit() {
      admitted = true
    },
    remember(text) {
      next ??= { text, ...withResolver() }
      next.text = text
      const { promise } = next
      if (!isWriting) write()
      return promise
    },
    crash() {
      life++
      next = undefined
      isWriting = false
    },
    copy: (changed = schedule) => identityIn({ ...init, schedule: changed }, admitted, remembered)
  }
}

function withResolver(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve = (): void => {}
  const promise = new Promise<void>((done) => (resolve = done))
  return { promise, resolve }
}
