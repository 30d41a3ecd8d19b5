/** Types that a program and its parts share. They have a file of their own because a program imports its parts. */
import type { MappedClient } from '@quire/dsm-client/internal'
import type { DsmClient } from '@quire/dsm-client'
import type { Clock } from '@quire/protocol'
import type { RandomSource } from '@quire/testing'
import type { Coverage } from '../coverage.js'
import type { Action } from './action-kinds.js'
import type { FileLocks } from './file-locks.js'
import type { ClientLog, History } from './history.js'
import type { ListingInvariants } from './listing-invariants.js'
import type { PageInvariants } from './page-invariants.js'
import type { PrivateUnmaps } from './private-unmaps.js'
import type { UnnamedFiles } from './unnamed-files.js'

export interface WorkloadSettings {
  /** The number of files that are owned by the page, and of files that are owned as a whole. */
  readonly paths: number
  readonly wholePaths: number
  /** Bytes of a new file, and the most pages. */
  readonly bytes: number
  readonly maxPages: number
  /** Mean pause between two actions. */
  readonly pauseMs: number
  /** Programs of one client that run at the same time. */
  readonly programs: number
  /** Mean time that a pin is held. */
  readonly pinMs: number
  /** Pause before a program looks again whether the client's other programs let it use a file. */
  readonly lockPauseMs: number
  /** Share of pins over more than two pages, and their most pages. */
  readonly longPins: { readonly share: number; readonly pages: number }
  /** Share of calls that are aborted. */
  readonly aborts: number
  /** Names of errors that calls may end with. */
  readonly allowedErrors: ReadonlySet<string>
  /** How often each action is taken, relative to the others. */
  readonly weights: Readonly<Record<Action, number>>
  /** Share of actions that create an unnamed file. */
  readonly naming: number
}

export interface ProgramInit {
  readonly name: string
  readonly client: DsmClient
  /** Set if the client maps its pages. */
  readonly mapped: MappedClient | undefined
  readonly clock: Clock
  readonly random: RandomSource
  readonly settings: WorkloadSettings
  readonly locks: FileLocks
  readonly log: ClientLog
  readonly history: History
  readonly invariants: PageInvariants
  readonly listings: ListingInvariants
  readonly unnamed: UnnamedFiles
  readonly unmaps: PrivateUnmaps
  readonly coverage: Coverage
  readonly isStopping: () => boolean
  /** The cluster is whole again, and no program is in an action. */
  readonly isQuiescent: () => boolean
}
