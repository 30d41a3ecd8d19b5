import type { ClientMessage, WritebackOutcome } from '@quire/protocol'
import type { FaultKind } from './page-faults.js'

/** What the core asks its driver to carry out. */
export type CoherenceEffect =
  | { readonly type: 'send'; readonly lane: 'control' | 'bulk'; readonly message: ClientMessage }
  | { readonly type: 'fault-sent'; readonly req: number; readonly kind: FaultKind }
  | { readonly type: 'fault-done'; readonly req: number }
  /** A discard is over, so the driver may ask for the file's size. With an error: the client gives the file up. */
  | { readonly type: 'discard-ended'; readonly file: number; readonly error: Error | undefined }

/** What the core tells its driver at once, in the middle of a call. The driver must not call the core from here. */
export interface CoherenceObserver {
  /** `effects` or `nextDeadline` has something new. Called once until the next `effects`. */
  output(): void
  /** The core has copied a page's bytes, which now leave to become durable. */
  writing(writeback: PageWriteback): void
  /** They are durable. */
  written(outcome: WritebackOutcome): void
}

/** Writeback `seq` of a page under `epoch`. */
export interface PageWriteback {
  readonly file: number
  readonly page: number
  readonly epoch: number
  readonly seq: number
  readonly pageSize: number
}
