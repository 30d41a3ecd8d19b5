/** Damage to the pieces of snapshots on their way between peers. */
import { decodeFrame, encodeFrame, PROTOCOL_RAFT, raftMessage } from '@quire/protocol'
import type { RandomSource } from '@quire/testing'

const SNAPSHOT_TAG = 19
const LENGTH_BYTES = 4

export function isPiece(protocol: string, frame: Uint8Array): boolean {
  // Group 0 and trace 0 take a byte each. The message's tag follows.
  return protocol === PROTOCOL_RAFT && frame[2] === SNAPSHOT_TAG
}

/**
 * Returns the frame of a piece with damaged data: a bit has flipped, or the end is missing, up to all of the data. Half
 * of the time, the damage is older than the piece's checksum, as in the memory of the sender.
 */
export function damagePiece(frame: Uint8Array, random: RandomSource): Uint8Array {
  const { group, trace, message } = decodeFrame(raftMessage, frame)
  if (message.type !== 'snapshot' || message.data.length === 0) return frame
  const data = damaged(message.data, random)
  const crc = random.is(0.5) ? crc32c(data) : message.crc
  return encodeFrame(raftMessage, { ...message, data, crc }, group, trace).slice(LENGTH_BYTES)
}

function damaged(whole: Uint8Array, random: RandomSource): Uint8Array {
  const at = random.int(0, whole.length - 1)
  const kind = random.pick(['flipped', 'short', 'empty'] as const)
  if (kind !== 'flipped') return whole.slice(0, kind === 'short' ? at : 0)
  const data = whole.slice()
  data[at] = data[at]! ^ (1 << random.int(0, 7))
  return data
}

/** CRC-32C (Castagnoli), bit by bit, because few pieces are damaged. */
function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff
  for (const byte of bytes) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0)
  }
  return ~crc >>> 0
}
