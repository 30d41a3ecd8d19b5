/** The session that a client uses at the moment. */
import { untilAborted } from '../waiting.js'
import type { Session } from '../session/session.js'
import { OpenFiles } from './open-files.js'
import { OpenOrder } from './open-order.js'

/** Replaces a client's session after its loss. */
export class CurrentSession {
  readonly order = new OpenOrder()
  session: Session
  files: OpenFiles
  private starting: Promise<void> | undefined

  constructor(private readonly create: () => Session) {
    this.session = create()
    this.files = new OpenFiles(this.session, this.order)
  }

  /** Resolves when there is a session. The first call after a loss starts the next session. */
  async ensure(signal?: AbortSignal): Promise<void> {
    if (this.session.ended === undefined) return
    if (this.starting === undefined) {
      this.session = this.create()
      this.files = new OpenFiles(this.session, this.order)
      // Each caller waits with its own signal.
      this.starting = this.session.start().finally(() => (this.starting = undefined))
    }
    await untilAborted(this.starting, signal)
  }
}
