/** Counts bytes of a log until an index releases them. */
export class PendingBytes {
  /** In the order of the log. Each item ends with the entry at `index`. */
  private items: { readonly index: number; readonly bytes: number }[] = []
  private sum = 0

  /** Number of items. */
  get count(): number {
    return this.items.length
  }

  /** Bytes of all items. */
  get bytes(): number {
    return this.sum
  }

  add(index: number, bytes: number): void {
    this.items.push({ index, bytes })
    this.sum += bytes
  }

  /** Releases every item that ends at `index` or before. */
  releaseUpTo(index: number): void {
    let released = 0
    while (released < this.items.length && this.items[released]!.index <= index) {
      this.sum -= this.items[released]!.bytes
      released++
    }
    this.items.splice(0, released)
  }

  clear(): void {
    this.items = []
    this.sum = 0
  }
}
