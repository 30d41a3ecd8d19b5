export { createRaftCore } from './core.js'
export type * from './types.js'
