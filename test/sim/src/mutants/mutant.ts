/**
 * Mutants: each takes a rule away by a patch of the built packages. A simulation that does not notice the loss is
 * worthless.
 */
export interface Change {
  /** Path below the suite's root. */
  readonly file: string
  /** Text that occurs in the file exactly once. */
  readonly find: string
  readonly replace: string
}

export interface Mutant extends Change {
  readonly name: string
  /** The rule, and where it is written down. */
  readonly rule: string
  /** Only seeds of this mix count: the others are not run. */
  readonly mix?: string
  /** Further changes, if the rule is kept in more than one place. */
  readonly and?: readonly Change[]
}

/** A simulation with its mutants. */
export interface Suite {
  readonly name: 'raft' | 'cluster'
  /** The folder of the files that mutants change. */
  readonly root: string
  readonly mutants: readonly Mutant[]
}
