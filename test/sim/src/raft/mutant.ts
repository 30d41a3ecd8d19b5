export type { Mutant } from '../mutants/mutant.js'
