/**
 * A checksum of the whole logical state, which replicas compare.
 *
 * The checksum detects bugs and damage, but not malice, because it is not cryptographic. It is the sum of the hashes of
 * all parts, so it does not depend on their order.
 */
export class Digest {
  private low = 0
  private high = 0

  /** Adds one part, which `label` identifies. */
  add(label: string, bytes: Uint8Array): void {
    let a = 0x811c9dc5
    let b = 0x2545f491
    const mix = (value: number): void => {
      a = Math.imul(a ^ value, 0x01000193)
      b = Math.imul((b << 13) | (b >>> 19), 0x9e3779b1) ^ value
    }
    for (let i = 0; i < label.length; i++) mix(label.charCodeAt(i))
    for (const byte of bytes) mix(byte)
    this.low = (this.low + finish(a ^ bytes.length)) >>> 0
    this.high = (this.high + finish(b)) >>> 0
  }

  toString(): string {
    return hex(this.high) + hex(this.low)
  }
}

/** The finalizer of MurmurHash3, in which each input bit affects each output bit. */
function finish(hash: number): number {
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

function hex(value: number): string {
  return value.toString(16).padStart(8, '0')
}
