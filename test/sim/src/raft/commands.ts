/** The commands that simulated clients propose, and the replicated state that they change. */
import { crc32 } from 'node:zlib'
import type { Entry } from '@quire/raft'
import { Violation } from '../violation.js'

const COMMAND_BYTES = 6

/**
 * Encodes command number `sequence` of a proposer, with `padding` bytes that only take room. Proposer 255 is noise
 * without numbers.
 */
export function encodeCommand(proposer: number, sequence: number, padding: number): Uint8Array {
  const data = new Uint8Array(COMMAND_BYTES + padding)
  data[0] = proposer
  new DataView(data.buffer).setUint32(1, sequence)
  // Different bytes each time, so that two entries are never equal by accident.
  data.fill(sequence & 0xff, COMMAND_BYTES)
  return data
}

export const NOISE_PROPOSER = 255

/** Identifies an entry's kind and data. */
export function checksum({ kind, data }: Entry): number {
  return crc32(data, kind.charCodeAt(2))
}

/** The content of a snapshot. */
interface StateImage {
  readonly hash: number
  readonly applied: number[]
  readonly ballast: string
}

/**
 * Applies the commands in the order of the log.
 *
 * It applies a command that was proposed twice only once, because the commands of a proposer are numbered. `hash`
 * identifies everything that was ever applied, in order.
 */
export class ReplicatedState {
  hash = 0x811c9dc5
  /** The highest command of each proposer. */
  readonly applied: number[] = []
  /** Commands that are in the log twice because they were proposed again. */
  repeated = 0

  apply(entry: Entry): void {
    this.hash = mix(mix(mix(this.hash, entry.index), entry.term), checksum(entry))
    if (entry.kind !== 'normal') return
    const proposer = entry.data[0]!
    if (proposer === NOISE_PROPOSER) return
    const { buffer, byteOffset, byteLength } = entry.data
    const sequence = new DataView(buffer, byteOffset, byteLength).getUint32(1)
    const last = this.applied[proposer] ?? 0
    if (sequence > last + 1) {
      throw new Violation('no command is lost', `proposer ${proposer}: ${sequence} is applied after ${last}`)
    }
    if (sequence === last + 1) this.applied[proposer] = sequence
    else this.repeated++
  }

  toBytes(ballastBytes: number): Uint8Array {
    const { hash, applied } = this
    const image: StateImage = {
      hash,
      applied: Array.from(applied, (each) => each ?? 0),
      ballast: '.'.repeat(ballastBytes)
    }
    return new TextEncoder().encode(JSON.stringify(image))
  }

  /** Returns undefined if the bytes are not a snapshot. */
  static fromBytes(bytes: Uint8Array): ReplicatedState | undefined {
    try {
      const { hash, applied } = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) as StateImage
      const state = new ReplicatedState()
      state.hash = hash
      state.applied.push(...applied)
      return state
    } catch {
      return undefined
    }
  }
}

function mix(hash: number, value: number): number {
  return Math.imul(hash ^ value, 0x01000193) ^ (hash >>> 15)
}
