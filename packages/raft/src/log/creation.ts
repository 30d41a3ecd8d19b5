/** How a log begins. */
import { encode, raftConfiguration } from '@quire/protocol'
import type { Entry, HardState } from '../core/types.js'
import type { LogCreation } from './types.js'

/** What a new log holds: the cluster's first configuration as entry 1 of term 1, committed by definition; or nothing. */
export function firstContent(creation: LogCreation): {
  readonly hardState: HardState | undefined
  readonly entries: readonly Entry[]
} {
  if ('join' in creation) return { hardState: undefined, entries: [] }
  const { voters, learners, context } = creation.bootstrap
  const data = encode(raftConfiguration, { voters, learners, outgoing: [], learnersNext: [], context })
  return {
    hardState: { term: 1, vote: undefined, commit: 1 },
    entries: [{ index: 1, term: 1, kind: 'config', data }]
  }
}
