import type { Mutant } from './mutants.js'
export const MUTANTS: readonly Mutant[] = []
