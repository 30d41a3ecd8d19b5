import type { Answer } from './answer.js'
import type { StateRecord, StateStore } from './records.js'
import type { SessionId } from './view.js'
import { PairMap } from './pair-map.js'

/** Limits the unsettled requests of a session, and so the answers kept for a client that never settles. */
export const MAX_UNSETTLED_REQUESTS = 1024

/**
 * Remembers the answers of applied requests until the client has settled them.
 *
 * A client repeats a request whose answer was lost with a leader or a connection. The state machine then returns the
 * remembered answer instead of applying the request again.
 */
export class Answers {
  private readonly table = new PairMap<Answer>()

  constructor(private readonly store: StateStore) {}

  get(session: SessionId, seq: number): Answer | undefined {
    return this.table.get(session, seq)
  }

  remember(answer: Answer): void {
    this.table.set(answer.session, answer.seq, answer)
    this.store.put('answer', answer.session, answer.seq, answer)
  }

  /** Forgets the session's answers below `settled`, or all of them where it is absent. */
  forget(session: SessionId, settled = Number.MAX_SAFE_INTEGER): void {
    for (const seq of [...this.table.inner(session).keys()]) {
      if (seq >= settled) continue
      this.table.delete(session, seq)
      this.store.put('answer', session, seq, undefined)
    }
  }

  clear(): void {
    this.table.clear()
  }

  restore(answer: Answer): void {
    this.table.set(answer.session, answer.seq, answer)
  }

  *records(): IterableIterator<StateRecord> {
    for (const [a, b, value] of this.table.entries()) yield { kind: 'answer', a, b, value }
  }
}
