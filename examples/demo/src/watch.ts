/** Collects the clients' reports while they work: their progress and the leader that they follow. */
import type { ClientNews } from './client-process.js'
import { CLIENTS } from './counters.js'
import { short, type Output } from './output.js'

export interface Watch extends ClientNews {
  /** The PeerId in the newest report of a leader. */
  readonly leader: string
  /** The completed fraction of the phase, over all clients. */
  readonly done: number
  begin(phase: string): void
  /** Resolves when this fraction of the phase is completed. */
  reached(part: number): Promise<void>
}

export function createWatch(output: Output, firstLeader: string): Watch {
  let phase = ''
  let leader = firstLeader
  const parts = new Map<number, number>()
  let awaited = Infinity
  let resolveAwaited = () => {}

  const done = () => [...parts.values()].reduce((sum, part) => sum + part, 0) / CLIENTS

  return {
    get leader() {
      return leader
    },
    get done() {
      return done()
    },
    begin(next) {
      phase = next
      parts.clear()
    },
    reached(part) {
      awaited = part
      return new Promise((resolve) => (resolveAwaited = resolve))
    },
    progressed(index, part) {
      parts.set(index, part)
      output.progress(phase, done())
      if (done() >= awaited) resolveAwaited()
    },
    followed(index, peerId, term) {
      leader = peerId
      output.say(`client ${index + 1} follows ${short(peerId)}, leader of term ${term}`)
    },
    sessionLost(index, message) {
      output.check(false, `client ${index + 1} lost its session ${message}`)
    }
  }
}
