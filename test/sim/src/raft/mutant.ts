/** Rules of Raft, each taken away by a patch of one place of the built package: a simulation that does not notice is worth nothing. */
export interface Mutant {
  readonly name: string
  /** The rule, with its section or scenario. */
  readonly rule: string
  /** Below packages/raft/dist. */
  readonly file: string
  /** Stands there exactly once. */
  readonly find: string
  readonly replace: string
}
