/** Numbers with equal values and no gap between them: `first` up to but without `end`. */
export interface Run<V> {
  readonly first: number
  readonly end: number
  readonly value: V
}

/**
 * A block of more runs is split. A change moves the runs behind it in its block. It moves the blocks behind that one
 * only if the block is split or has lost its last run.
 */
const MAX_BLOCK = 128

/**
 * A map from whole numbers to values that stores runs of equal values.
 *
 * No run touches a run of an equal value, so two maps with the same content have the same runs, whatever the order of
 * the changes was. Memory depends on the number of runs and not on their length. A lookup is a binary search.
 */
export class RunMap<V> {
  /** The runs in ascending order, in blocks that are not empty. */
  private readonly blocks: Run<V>[][] = []
  private count = 0

  constructor(private readonly isEqual: (a: V, b: V) => boolean) {}

  /** Number of runs. */
  get size(): number {
    return this.count
  }

  get(at: number): V | undefined {
    const block = this.blocks[this.blockFor(at + 1)]
    const run = block?.[runFor(block, at + 1)]
    return run !== undefined && run.first <= at ? run.value : undefined
  }

  /**
   * Gives the numbers from `first` up to but without `end` the value; undefined removes them. Calls `changed` with each
   * run that is gone or cut, and then with each run that took its place.
   */
  set(
    first: number,
    end: number,
    value: V | undefined,
    changed: (gone: Run<V> | undefined, run?: Run<V>) => void
  ): void {
    if (first >= end) return
    const isSame = (run: Run<V>): boolean => value !== undefined && this.isEqual(run.value, value)
    let [low, high] = [first, end]
    const pieces: Run<V>[] = []
    let b = this.blockFor(first)
    let i = b < this.blocks.length ? runFor(this.blocks[b]!, first) : 0
    const before = this.blocks[b]?.[i]
    if (before !== undefined && before.first <= first && before.end >= end && isSame(before)) return
    for (let run = before; run !== undefined && run.first <= end; run = this.blocks[b]?.[i]) {
      const touches = run.end === first || run.first === end
      if (touches && !isSame(run)) {
        if (run.first === end) break
        // The run before stays as it is.
        if (++i === this.blocks[b]!.length) [b, i] = [b + 1, 0]
        continue
      }
      if (isSame(run)) {
        low = Math.min(low, run.first)
        high = Math.max(high, run.end)
      } else {
        if (run.first < first) pieces.push({ first: run.first, end: first, value: run.value })
        if (run.end > end) pieces.push({ first: end, end: run.end, value: run.value })
      }
      changed(run)
      if (this.removeAt(b, i) && i === (this.blocks[b]?.length ?? 0)) [b, i] = [b + 1, 0]
    }
    if (value !== undefined) pieces.push({ first: low, end: high, value })
    for (const piece of pieces) {
      this.insert(piece)
      changed(undefined, piece)
    }
  }

  /** The runs in ascending order. The map must not change meanwhile. */
  *runs(): IterableIterator<Run<V>> {
    for (const block of this.blocks) yield* block
  }

  /** The runs whose values pass the test, in ascending order. The others cost a look each, and no memory. */
  withValue(test: (value: V) => boolean): Run<V>[] {
    return this.blocks.flatMap((block) => block.filter(({ value }) => test(value)))
  }

  /** The parts of runs from `first` up to but without `end`. The map must not change meanwhile. */
  *within(first: number, end: number): IterableIterator<Run<V>> {
    let b = this.blockFor(first + 1)
    let i = b < this.blocks.length ? runFor(this.blocks[b]!, first + 1) : 0
    for (; b < this.blocks.length; b++, i = 0) {
      for (const block = this.blocks[b]!; i < block.length; i++) {
        const run = block[i]!
        if (run.first >= end) return
        yield { first: Math.max(run.first, first), end: Math.min(run.end, end), value: run.value }
      }
    }
  }

  /** Position of the first block with a run whose end is not below `end`. */
  private blockFor(end: number): number {
    return search(this.blocks, (block) => block.at(-1)!.end < end)
  }

  private insert(run: Run<V>): void {
    this.count++
    // Behind the last block comes nothing, so a run that is above all others goes into that one.
    const b = Math.min(this.blockFor(run.first), this.blocks.length - 1)
    if (b < 0) {
      this.blocks.push([run])
      return
    }
    const block = this.blocks[b]!
    block.splice(runFor(block, run.end), 0, run)
    if (block.length > MAX_BLOCK) this.blocks.splice(b + 1, 0, block.splice(MAX_BLOCK / 2))
  }

  /** Returns false if the block is gone with its last run; the next block then has its place. */
  private removeAt(b: number, i: number): boolean {
    this.count--
    const block = this.blocks[b]!
    block.splice(i, 1)
    if (block.length > 0) return true
    this.blocks.splice(b, 1)
    return false
  }
}

/** Position of the first run whose end is not below `end`. */
function runFor<V>(block: readonly Run<V>[], end: number): number {
  return search(block, (run) => run.end < end)
}

/** Position of the first element that is not `before`; all elements that are `before` come first. */
function search<T>(elements: readonly T[], before: (element: T) => boolean): number {
  let low = 0
  let high = elements.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (before(elements[middle]!)) low = middle + 1
    else high = middle
  }
  return low
}
