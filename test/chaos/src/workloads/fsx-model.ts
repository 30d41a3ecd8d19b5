/** What a file must hold, and what it may hold after a loss. It is pure. */

const PAGE_BYTES = 4096

/** A call that has no outcome yet. It may have had an effect on any of its bytes, and on the size. */
interface Call {
  readonly offset: number
  readonly bytes: Uint8Array
  readonly size: number
}

export class FsxModel {
  size = 0
  private readonly bytes: Uint8Array
  /** By offset: the values that a byte has had, or may have had, since it was durable. */
  private readonly earlier = new Map<number, Set<number>>()
  private call: Call | undefined

  constructor(maxSize: number) {
    this.bytes = new Uint8Array(maxSize)
  }

  /** A call has begun whose outcome is unknown. */
  get isUncertain(): boolean {
    return this.call !== undefined
  }

  /** These bytes may be written from now on. A write beyond the end makes the file longer. */
  mayWrite(offset: number, bytes: Uint8Array): void {
    this.begin({ offset, bytes, size: Math.max(this.size, offset + bytes.length) })
  }

  write(offset: number, bytes: Uint8Array): void {
    this.bytes.set(bytes, offset)
    this.size = Math.max(this.size, offset + bytes.length)
    this.call = undefined
  }

  mayTruncate(size: number): void {
    const low = Math.min(size, this.size)
    this.begin({ offset: low, bytes: new Uint8Array(Math.max(size, this.size) - low), size })
  }

  /** The size is durable when the call resolves, and so is the end of all bytes beyond it. */
  truncate(size: number): void {
    const low = Math.min(size, this.size)
    this.bytes.fill(0, low)
    this.settle(low, this.bytes.length)
    this.size = size
    this.call = undefined
  }

  /** Zeros of whole pages are durable when the call resolves. Others are written. */
  punch(offset: number, length: number): void {
    this.write(offset, new Uint8Array(length))
    const end = Math.floor((offset + length) / PAGE_BYTES) * PAGE_BYTES
    this.settle(Math.ceil(offset / PAGE_BYTES) * PAGE_BYTES, end)
  }

  /** Everything is durable. */
  flushed(): void {
    this.earlier.clear()
  }

  /** Why the `length` bytes at the offset cannot be read as these; undefined if they must be. */
  whyNot(read: Uint8Array, offset: number, length: number): string | undefined {
    const due = Math.max(0, Math.min(length, this.size - offset))
    if (read.length !== due) return `${read.length} bytes were read at ${offset}, ${due} are there`
    for (let i = 0; i < read.length; i++) {
      const at = offset + i
      if (read[i] !== this.bytes[at]) return `byte ${at} is ${read[i]}, ${this.bytes[at]} was written`
    }
    return undefined
  }

  /**
   * Takes the whole file for the truth, or says why it cannot be. Bytes of a call without an outcome may be as before
   * it or as after it. If the session was lost, any byte may have a value that it had since it was durable.
   */
  adopt(read: Uint8Array, size: number, isLost: boolean): string | undefined {
    const sizes = [this.size, ...(this.call === undefined ? [] : [this.call.size])]
    if (!sizes.includes(size)) return `the file has ${size} bytes, and had ${sizes.join(' or ')}`
    for (let at = 0; at < read.length; at++) {
      if (read[at] === this.bytes[at]) continue
      const possible = this.possible(at, isLost)
      if (!possible.includes(read[at]!)) return `byte ${at} is ${read[at]}, it can be ${possible.join(' or ')}`
    }
    this.bytes.fill(0)
    this.bytes.set(read)
    this.size = size
    this.call = undefined
    return undefined
  }

  private begin(call: Call): void {
    for (const [i, value] of call.bytes.entries()) {
      const at = call.offset + i
      const had = this.earlier.get(at) ?? new Set()
      this.earlier.set(at, had.add(this.bytes[at]!).add(value))
    }
    this.call = call
  }

  private possible(at: number, isLost: boolean): readonly number[] {
    const called = this.call?.bytes[at - this.call.offset]
    const earlier = isLost ? (this.earlier.get(at) ?? []) : []
    return [...new Set([this.bytes[at]!, ...(called === undefined ? [] : [called]), ...earlier])]
  }

  /** These bytes are durable. */
  private settle(from: number, to: number): void {
    for (let at = from; at < to; at++) this.earlier.delete(at)
  }
}
