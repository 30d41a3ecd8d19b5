import type { DsmFile, Mapping } from '@quire/dsm-client'
import type { PrivateUse } from './private-use.js'

/** A file that a program has open. */
export interface Handle {
  readonly file: DsmFile
  readonly mapping: Mapping
  readonly path: string
  readonly id: number
  /** The session that opened it. */
  readonly session: string
  readonly isWhole: boolean
  private: PrivateUse | undefined
  /** It can only be closed. */
  isSpent: boolean
}
