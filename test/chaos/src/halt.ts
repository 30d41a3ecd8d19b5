/**
 * The run cannot go on, for a reason that says nothing about Quire: a command of the user has failed, or the cluster
 * does not answer before the run has done anything to it.
 */
export class HaltError extends Error {
  override readonly name = 'HaltError'
}

/** Whether the error, or one that it has come from, is a HaltError. */
export function isHalt(error: unknown): boolean {
  return error instanceof HaltError || (error instanceof Error && isHalt(error.cause))
}
