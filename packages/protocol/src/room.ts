import { oneOf, type TypeOf } from './codec.js'

/**
 * Room on a node's disks. `enough`: it stores entries and can go on. `little`: it stores entries until the space that
 * it has left is used up. `none`: it stores no entries, but votes and answers.
 */
export const raftRoom = oneOf('enough', 'little', 'none')
export type RaftRoom = TypeOf<typeof raftRoom>
