const POLL_MS = 250

/** Polls until the condition holds. Rejects when `mayLastMs` are over, and says what it has waited for. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: () => string,
  mayLastMs: number
): Promise<void> {
  const deadline = performance.now() + mayLastMs
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`waited ${mayLastMs / 1_000} s for ${what()}`)
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
}
