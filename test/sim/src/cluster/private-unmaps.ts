/** Remembers the ranges whose private copies a client's own program has dropped (unmapMappingRange with evenCows). */
export class PrivateUnmaps {
  private readonly ranges: {
    readonly file: number
    readonly at: number
    readonly first: number
    readonly end: number
  }[] = []

  add(file: number, first: number, end: number, at: number): void {
    this.ranges.push({ file, at, first, end })
  }

  has(file: number, page: number, since: number): boolean {
    return this.ranges.some(
      (range) => range.file === file && range.at >= since && page >= range.first && page < range.end
    )
  }
}
