/**
 * Texts in frames. Errors cross the wire with texts for people, and a better text is the same behavior. So neither the
 * time that a frame travels nor the hash of a run depends on them.
 */
import { decodeFrame, encode, leaderMessage, PROTOCOL_BULK, PROTOCOL_CONTROL, raftMessage } from '@quire/protocol'
import { nameOf } from './ids.js'

/** Group and trace take a byte each while they are small, as they are here. The message's tag follows. */
const HEADER_BYTES = 2
/** `refused`, `failed`, `faultFailed` and `writebackFailed`. */
const LEADER_ERRORS: ReadonlySet<number> = new Set([4, 13, 21, 26])
/** `raftRefused`. */
const RAFT_ERRORS: ReadonlySet<number> = new Set([2])

/** Returns the frame's bytes. If the frame carries an error, returns the message without the error's texts. */
export function withoutTexts(from: string, protocol: string, frame: Uint8Array): Uint8Array {
  const tag = frame[HEADER_BYTES]!
  if (protocol !== PROTOCOL_CONTROL && protocol !== PROTOCOL_BULK) {
    if (!RAFT_ERRORS.has(tag)) return frame
    const { message } = decodeFrame(raftMessage, frame)
    return 'error' in message ? encode(raftMessage, withoutFacts(message)) : frame
  }
  if (!nameOf(from).startsWith('peer') || !LEADER_ERRORS.has(tag)) return frame
  const { message } = decodeFrame(leaderMessage, frame)
  return 'error' in message ? encode(leaderMessage, withoutFacts(message)) : frame
}

function withoutFacts<T extends { readonly error: { readonly code: string } }>(message: T): T {
  return { ...message, error: { code: message.error.code, facts: [] } }
}
