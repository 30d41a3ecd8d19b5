/** Errors of this package's API. Errors that cross the wire to users are in `@quire/protocol`. */

/** This node does not lead the group; `leader` names the node that does, if this node knows it. */
export class NotLeaderError extends Error {
  override readonly name = 'NotLeaderError'
  readonly code = 'ERR_NOT_LEADER'
  constructor(
    readonly id: string,
    readonly leader: string | undefined
  ) {
    super(`${id} is not the leader${leader === undefined ? '' : `, ${leader} is`}`)
  }
}

/** A queue is at its limit. Nothing was accepted: try again when earlier operations have completed. */
export class BackPressureError extends Error {
  override readonly name = 'BackPressureError'
  readonly code = 'ERR_BACK_PRESSURE'
  constructor(
    readonly queue: string,
    readonly used: number,
    readonly limit: number
  ) {
    super(`${queue}: ${used} of ${limit} in use`)
  }
}

/** The disk holds no log, and the caller did not ask for a new one (`create`). */
export class LogNotInitializedError extends Error {
  override readonly name = 'LogNotInitializedError'
  readonly code = 'ERR_LOG_NOT_INITIALIZED'
  constructor() {
    super('no log exists on this disk, and `create` was not given')
  }
}

/**
 * The log has no room for all of what was appended, for lack of space or of a file descriptor (`cause`). The hard state
 * is durable, and so are the entries up to `stored` (0 if the append would have started the log anew). The other
 * entries are not in the log, which stays sound. Until `room` resolves, the log gives entries back, but stores hard
 * states.
 */
export class LogFullError extends Error {
  override readonly name = 'LogFullError'
  readonly code = 'ERR_LOG_FULL'
  constructor(
    readonly stored: number,
    readonly room: Promise<void>,
    cause: Error
  ) {
    super(`the log is full after entry ${stored}: ${cause.message}`, { cause })
  }
}

/**
 * A write to the log failed (`cause`). Nobody knows which part of it reached the disk, so the log accepts nothing more.
 */
export class LogFailedError extends Error {
  override readonly name = 'LogFailedError'
  readonly code = 'ERR_LOG_FAILED'
  constructor(cause: unknown) {
    super(`the log failed: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
  }
}

/**
 * Another membership change is under way, or this leader has committed nothing yet. Try again once entry `index` is
 * applied.
 */
export class ChangePendingError extends Error {
  override readonly name = 'ChangePendingError'
  readonly code = 'ERR_CHANGE_PENDING'
  constructor(readonly index: number) {
    super(`a membership change must wait until entry ${index} is applied`)
  }
}

/** `to` did not take over leadership in time. */
export class TransferFailedError extends Error {
  override readonly name = 'TransferFailedError'
  readonly code = 'ERR_TRANSFER_FAILED'
  constructor(readonly to: string) {
    super(`${to} did not take over leadership`)
  }
}
