/** Rules, each taken away by a patch of the built packages: a simulation that does not notice is worth nothing. */
export interface Change {
  /** Below the suite's root. */
  readonly file: string
  /** Stands there exactly once. */
  readonly find: string
  readonly replace: string
}

export interface Mutant extends Change {
  readonly name: string
  /** The rule, and where it is written down. */
  readonly rule: string
  /** Where it takes more than one place. */
  readonly and?: readonly Change[]
}

/** A simulation and its mutants. */
export interface Suite {
  readonly name: 'raft' | 'cluster'
  /** Of the files. */
  readonly root: string
  readonly mutants: readonly Mutant[]
}
