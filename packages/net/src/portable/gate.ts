/** Who may connect. Every refusal is logged once per PeerId, in bounded memory. */
import type { Log } from './log.js'
import { createLogQuota } from './log-quota.js'

export type Direction = 'inbound' | 'outbound'

/** Decides about a remote that has proved its PeerId: true, or why not. Called for each connection and each dial; it must be cheap. */
export type Allow = (peerId: string, direction: Direction) => true | string

export interface Gate {
  /** True, or the reason of the refusal, which is logged. An `allow` that throws refuses. */
  check(peerId: string, direction: Direction, address?: string): true | string
  setAllow(allow: Allow): void
}

/** PeerIds whose refusal is remembered. One that was forgotten is logged again. */
const MAX_REMEMBERED = 1024

export function createGate(allow: Allow = () => true, logger?: Log, now: () => number = () => performance.now()): Gate {
  let current = allow
  const quota = createLogQuota(now, (refusals) => logger?.warn({ refusals }, 'more peers were refused'))
  const logged = new Set<string>()

  function refuse(peerId: string, direction: Direction, reason: string, address?: string): void {
    if (logged.has(peerId)) return
    if (logged.size >= MAX_REMEMBERED) {
      const [oldest] = logged
      if (oldest !== undefined) logged.delete(oldest)
    }
    if (!quota.take()) return
    logged.add(peerId)
    // The whole id: an operator who wants to let it in needs it.
    logger?.warn({ peer: peerId, id: peerId, direction, reason, address }, 'peer refused')
  }

  return {
    check(peerId, direction, address) {
      let verdict: true | string
      try {
        verdict = current(peerId, direction)
      } catch (error) {
        verdict = `the check failed: ${error instanceof Error ? error.message : String(error)}`
      }
      if (verdict !== true) refuse(peerId, direction, verdict, address)
      // Allowed again after a refusal: the next refusal is news.
      else logged.delete(peerId)
      return verdict
    },
    setAllow(next) {
      current = next
    }
  }
}
