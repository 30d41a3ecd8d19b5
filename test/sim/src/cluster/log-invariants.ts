/** What the log promises: everybody applies the same with the same outcome, in order, and what a client asks for once. */
import type { Applied } from '@quire/store/internal'
import { Violation } from '../violation.js'
import type { SimPeer } from './peers.js'

/** Refusals that are not remembered: they answer a request that is over, or a session that is. */
const UNREMEMBERED = new Set(['SessionExpiredError', 'InvalidArgumentError'])

export class LogInvariants {
  /** Of the last entry that anybody has applied. */
  lastIndex = 0
  private readonly outcomes = new Map<number, string>()
  private readonly answers = new Map<string, string>()

  /** True when it changes something: nobody has applied it before, and it is no answer that was given before. */
  applied(peer: SimPeer, index: number, applied: Applied | undefined): boolean {
    const text = JSON.stringify(applied) ?? ''
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

  /** A request that comes again is answered as before, and done no second time. */
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
