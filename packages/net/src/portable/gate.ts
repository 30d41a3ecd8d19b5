/** Decides which peers may connect. Logs each refused PeerId once, in bounded memory. */
import type { Log } from './log.js'
import { createLogQuota } from './log-quota.js'

export type Direction = 'inbound' | 'outbound'

/**
 * Returns true, or the reason why this peer is refused. The gate calls it for each connection, each incoming stream and
 * each dial, with a PeerId that the remote has proved or that the caller dials. It must be fast.
 */
export type Allow = (peerId: string, direction: Direction) => true | string

export interface Gate {
  /** Returns true, or the reason of the refusal, which it logs. An error in `allow` refuses the peer. */
  check(peerId: string, direction: Direction, address?: string): true | string
  setAllow(allow: Allow): void
}

/** The gate remembers this many refused PeerIds. It logs a forgotten one again. */
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
    // The field `id` keeps the whole PeerId, which an operator needs in order to list the peer.
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
      // The peer is allowed now, so its next refusal is worth a line again.
      else logged.delete(peerId)
      return verdict
    },
    setAllow(next) {
      current = next
    }
  }
}
