/** What a file must hold, and what it may hold after a loss. It is pure. */
export class FsxModel {
  size = 0
  private readonly bytes: Uint8Array
  /** By offset: the values that a byte has had, or may have had, since the last flush. */
  private readonly earlier = new Map<number, Set<number>>()
  /** The sizes that the file may have, besides `size`: those of calls without an outcome. */
  private sizes: number[] = []

  constructor(maxSize: number) {
    this.bytes = new Uint8Array(maxSize)
  }

  /** These bytes may be written from now on. */
  mayWrite(offset: number, bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length; i++) {
      const at = offset + i
      let had = this.earlier.get(at)
      if (had === undefined) this.earlier.set(at, (had = new Set()))
      had.add(this.bytes[at]!).add(bytes[i]!)
    }
    // A write beyond the end makes the file longer.
    this.sizes.push(this.size, Math.max(this.size, offset + bytes.length))
  }

  write(offset: number, bytes: Uint8Array): void {
    this.bytes.set(bytes, offset)
    this.size = Math.max(this.size, offset + bytes.length)
    this.sizes = []
  }

  mayTruncate(size: number): void {
    const [low, high] = [Math.min(size, this.size), Math.max(size, this.size)]
    this.mayWrite(low, new Uint8Array(high - low))
    this.sizes.push(this.size, size)
  }

  /** A size is durable when the call resolves. */
  truncate(size: number): void {
    this.bytes.fill(0, Math.min(size, this.size))
    this.size = size
    this.sizes = []
  }

  /** Everything is durable. */
  flushed(): void {
    this.earlier.clear()
    this.sizes = []
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

  /** After a loss: takes the file for the truth, or says why it cannot be. */
  adopt(read: Uint8Array, size: number): string | undefined {
    if (size !== this.size && !this.sizes.includes(size)) {
      return `the file has ${size} bytes after a loss, and had ${[this.size, ...this.sizes].join(' or ')}`
    }
    for (let at = 0; at < read.length; at++) {
      const had = this.earlier.get(at)
      if (read[at] === this.bytes[at] || had?.has(read[at]!) === true) continue
      return `byte ${at} is ${read[at]} after a loss; it was ${this.bytes[at]}, and ${[...(had ?? [])].join(' or ') || 'nothing else'} since the last flush`
    }
    this.bytes.fill(0)
    this.bytes.set(read)
    this.size = size
    this.sizes = []
    // A call without an outcome may still take effect, as long as its session lives: its values stay possible.
    return undefined
  }
}
