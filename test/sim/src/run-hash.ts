import { crc32 } from 'node:zlib'

/**
 * A checksum of everything that can be observed of a run from outside, in order: what travels, what is written to
 * disks, what clients are told.
 *
 * Two runs with different hashes behave differently. Names of modules and classes, texts of messages and labels of the
 * trace do not count. Times do not count either, only the order of events: each reading of a clock moves later times by
 * nanoseconds.
 */
export class RunHash {
  private a = 0x811c9dc5
  private b = 0x9e3779b9

  /** Nothing is added if it is off: a hash takes a third of a Raft seed's time. */
  constructor(readonly isOn: boolean) {}

  /** Adds the low 32 bits of an integer. */
  number(value: number): this {
    if (!this.isOn) return this
    this.a = Math.imul(this.a ^ value, 0x01000193)
    this.b = Math.imul(this.b ^ value ^ (this.a >>> 15), 0x85ebca6b)
    return this
  }

  text(text: string): this {
    return this.isOn ? this.number(crc32(text)).number(text.length) : this
  }

  bytes(bytes: Uint8Array): this {
    return this.isOn ? this.number(crc32(bytes)).number(bytes.length) : this
  }

  /** Returns 16 hexadecimal digits. */
  toString(): string {
    return [this.a, this.b].map((half) => (half >>> 0).toString(16).padStart(8, '0')).join('')
  }
}
