import { oneOf, type TypeOf } from './codec.js'

/**
 * The room on a node's disks. `enough`: the node stores entries. `little`: it stores entries until the remaining space
 * is used up. `none`: it stores no entries, but still votes and answers.
 */
export const raftRoom = oneOf('enough', 'little', 'none')
export type RaftRoom = TypeOf<typeof raftRoom>
