/** Checks of a node's settings. */
import { InvalidArgumentError, MAX_APPEND_BYTES, MAX_SNAPSHOT_PIECE_BYTES } from '@quire/protocol'
import type { RaftLimits, RaftNodeInit } from './node-types.js'

export const DEFAULT_RAFT_LIMITS: RaftLimits = {
  maxAppendBytes: MAX_APPEND_BYTES,
  maxInflightMessages: 64,
  maxInflightBytes: 4 * 1024 * 1024,
  maxUncommittedBytes: 16 * 1024 * 1024,
  maxApplyBytes: 1024 * 1024,
  maxPendingReads: 10_000,
  maxPieceBytes: MAX_SNAPSHOT_PIECE_BYTES,
  retainedBytes: 64 * 1024 * 1024
}

const LEAST: Partial<RaftLimits> = { retainedBytes: 0 }
const MOST: Partial<RaftLimits> = { maxAppendBytes: MAX_APPEND_BYTES, maxPieceBytes: MAX_SNAPSHOT_PIECE_BYTES }

export type CompleteInit = Required<RaftNodeInit> & { readonly limits: RaftLimits }

/** Adds the defaults. Throws InvalidArgumentError. */
export function completeInit(init: RaftNodeInit): CompleteInit {
  const { id, tickMs = 20, electionTicks = 16, heartbeatTicks = 4 } = init
  const limits = { ...DEFAULT_RAFT_LIMITS, ...init.limits }
  checkTick(tickMs)
  checkInteger('heartbeatTicks', heartbeatTicks, 1)
  checkInteger('electionTicks', electionTicks, heartbeatTicks + 1)
  for (const [name, value] of Object.entries(limits) as [keyof RaftLimits, number][]) {
    checkInteger(name, value, LEAST[name] ?? 1, MOST[name])
  }
  return { id, tickMs, electionTicks, heartbeatTicks, limits }
}

export function checkTick(tickMs: number): void {
  if (!(tickMs > 0 && tickMs < Infinity)) throw new InvalidArgumentError('tickMs', tickMs, 'positive')
}

export function checkInteger(name: string, value: number, least: number, most = Number.MAX_SAFE_INTEGER): void {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return
  const upTo = most === Number.MAX_SAFE_INTEGER ? '' : ` to ${most}`
  throw new InvalidArgumentError(name, value, `an integer from ${least}${upTo}`)
}
