/**
 * An invariant is broken: the program has a bug, or the memory is faulty. The code that catches it must stop the node.
 */
export class InvariantError extends Error {
  override readonly name = 'InvariantError'
  readonly code = 'ERR_INVARIANT'
}

/** Throws {@link InvariantError} unless `condition` holds. `message` must name the values. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new InvariantError(message)
}
