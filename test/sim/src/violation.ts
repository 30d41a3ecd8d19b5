/** A broken invariant. */
export class Violation extends Error {
  override readonly name = 'Violation'
  constructor(
    readonly invariant: string,
    readonly facts: string
  ) {
    super(`${invariant}: ${facts}`)
  }
}
