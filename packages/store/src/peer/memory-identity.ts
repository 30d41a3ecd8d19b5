import type { IdentityStorage } from './identity.js'

/** An identity in memory, for tests and the simulator. What was not durable at a crash is gone. */
export interface MemoryIdentity extends IdentityStorage {
  /** What a process finds after this moment: nothing of a write that has not ended. */
  crash(): void
  /** Another identity that remembers what is durable here: a copy of the folder. */
  copy(): MemoryIdentity
}

export interface MemoryIdentityInit {
  readonly incarnation: string
  /** Runs `done` when a write would be durable. Default: at once. */
  readonly schedule?: (done: () => void) => void
}

export function createMemoryIdentity(init: MemoryIdentityInit): MemoryIdentity {
  return identityIn(init, false, '')
}

function identityIn(init: MemoryIdentityInit, admitted: boolean, remembered: string): MemoryIdentity {
  const { incarnation, schedule = (done: () => void) => done() } = init
  let life = 0
  return {
    incarnation,
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
      const { promise, resolve } = withResolver()
      const at = life
      schedule(() => {
        if (at !== life) return
        remembered = text
        resolve()
      })
      return promise
    },
    crash() {
      life++
    },
    copy: () => identityIn(init, admitted, remembered)
  }
}

function withResolver(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve = (): void => {}
  const promise = new Promise<void>((done) => (resolve = done))
  return { promise, resolve }
}
