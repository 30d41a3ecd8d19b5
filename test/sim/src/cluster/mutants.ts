import type { Suite } from '../mutants/mutant.js'

export const CLUSTER_SUITE: Suite = { name: 'cluster', root: 'packages/', mutants: [] }
