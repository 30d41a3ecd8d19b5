import type { Applied } from '@quire/store/internal'
import { Violation } from '../violation.js'
import type { SimPeer } from './peers.js'

/** Refusals that are not remembered, because they answer a request or a session that is over. */
const UNREMEMBERED = new Set(['SessionExpiredError', 'InvalidArgumentError'])

/**
 * Checks that all peers apply the same log.
 *
 * They apply the same entries in order, with the same outcomes, and each request of a client once.
 */
export class LogInvariants {
  /** The index of the last entry that any peer has applied. */
  lastIndex = 0
  private readonly outcomes = new Map<number, string>()
  private readonly answers = new Map<string, string>()

  /**
   * Returns whether the entry changes something: no peer has applied it before, and it does not repeat an earlier
   * answer.
   */
  applied(peer: SimPeer, index: number, applied: Applied | undefined): boolean {
    // Which peers have lost a page to rot differs between them.
    const text = JSON.stringify(applied, (key, value: unknown) => (key === 'isLost' ? undefined : value)) ?? ''
    const known = this.outcomes.get(index)
    if (known !== undefined && known !== text) {
      throw new Violation(
        'state machine safety',
        `${peer.name}: entry ${index} came out as ${text}, elsewhere ${known}`
      )
    }
    this.outcomes.set(index, text)
    if (index <= this.lastIndex) return false
    if (index !== this.lastIndex + 1) {
      throw new Violation('applied in order', `${peer.name} applied ${index}, nobody ${this.lastIndex + 1}`)
    }
    this.lastIndex = index
    return applied === undefined || !('seq' in applied) || this.answered(applied, text)
  }

  /** A repeated request gets the same answer, and is not carried out again. */
  private answered(applied: Extract<Applied, { seq: number }>, text: string): boolean {
    if (applied.type === 'failed' && UNREMEMBERED.has(applied.error.name)) return false
    const key = `${applied.session} ${applied.seq}`
    const known = this.answers.get(key)
    if (known !== undefined && known !== text) {
      throw new Violation('a request is applied once', `session and seq ${key}: ${known}, then ${text}`)
    }
    this.answers.set(key, text)
    return known === undefined
  }
}
