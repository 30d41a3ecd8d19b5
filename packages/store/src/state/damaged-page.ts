import { CorruptionError } from '@quire/protocol'

/** The stored bytes or the version of a page are damaged. Another peer may have a good copy. */
export class DamagedPageError extends CorruptionError {
  constructor(
    where: string,
    reason: string,
    readonly file: number,
    readonly page: number
  ) {
    super(where, undefined, reason)
  }
}
