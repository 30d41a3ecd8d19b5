/** All machines are this one: for a user who may not make networks. */
import type { Machines } from './machine.js'

export function makeLoopback(): Machines {
  return {
    lines: undefined,
    add: (name) => Promise.resolve({ name, address: '127.0.0.1', on: (command) => command }),
    [Symbol.asyncDispose]: () => Promise.resolve()
  }
}
