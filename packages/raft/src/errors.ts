/** Errors of this package's API. The ones that cross the wire to users are in `@quire/protocol`. */

/** This node does not lead the group (any more); `leader` is who does, when that is known. */
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

/** A queue is at its limit. Nothing was taken; try again when earlier operations are done. */
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

/** There is no log here, and none was to be made. */
export class LogNotInitializedError extends Error {
  override readonly name = 'LogNotInitializedError'
  readonly code = 'ERR_LOG_NOT_INITIALIZED'
  constructor() {
    super('there is no log, and none was to be made')
  }
}

/**
 * There is no room, or no descriptor for another file (`cause`), for all of what was appended: its hard state is
 * durable, and its entries up to `stored` (0 when it would have begun the log anew); the rest is not in the log, and
 * the log is sound. Until `room` resolves it gives entries back, and keeps hard states.
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

/** A write to the log failed (`cause`): what of it reached the disk is unknown, so the log takes nothing more. */
export class LogFailedError extends Error {
  override readonly name = 'LogFailedError'
  readonly code = 'ERR_LOG_FAILED'
  constructor(cause: unknown) {
    super(`the log failed: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
  }
}

/** A change of the membership is under way, or this leader has not committed anything yet. Try again after entry `index` is applied. */
export class ChangePendingError extends Error {
  override readonly name = 'ChangePendingError'
  readonly code = 'ERR_CHANGE_PENDING'
  constructor(readonly index: number) {
    super(`a change of the membership waits for entry ${index}`)
  }
}

/** Leadership was not taken over in time; the leader is who it was. */
export class TransferFailedError extends Error {
  override readonly name = 'TransferFailedError'
  readonly code = 'ERR_TRANSFER_FAILED'
  constructor(readonly to: string) {
    super(`${to} did not take over leadership`)
  }
}
