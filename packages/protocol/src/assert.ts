/** A broken invariant: a bug, or memory that lies. Whoever catches it stops the node; nothing continues after it. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError'
  readonly code = 'ERR_INVARIANT'
}

/** Throws {@link InvariantError} unless `condition` holds. Name the values in `message`. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new InvariantError(message)
}
