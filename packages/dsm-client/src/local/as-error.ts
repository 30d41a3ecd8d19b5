/** Returns what a hook threw as an error: hooks in JavaScript throw anything. */
export function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown))
}
