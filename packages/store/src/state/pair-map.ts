/** A map from pairs of numbers, which finds all entries under one first number. */
export class PairMap<V> {
  private readonly outer = new Map<number, Map<number, V>>()
  private count = 0

  get size(): number {
    return this.count
  }

  get(a: number, b: number): V | undefined {
    return this.outer.get(a)?.get(b)
  }

  /** Returns the previous value. */
  set(a: number, b: number, value: V): V | undefined {
    let inner = this.outer.get(a)
    if (inner === undefined) this.outer.set(a, (inner = new Map()))
    const previous = inner.get(b)
    if (previous === undefined && !inner.has(b)) this.count++
    inner.set(b, value)
    return previous
  }

  /** Returns the removed value. */
  delete(a: number, b: number): V | undefined {
    const inner = this.outer.get(a)
    const previous = inner?.get(b)
    if (inner === undefined || !inner.delete(b)) return undefined
    this.count--
    if (inner.size === 0) this.outer.delete(a)
    return previous
  }

  /** Returns the entries under `a`, possibly none. */
  inner(a: number): ReadonlyMap<number, V> {
    return this.outer.get(a) ?? new Map<number, V>()
  }

  /** The first numbers of all pairs. */
  firsts(): IterableIterator<number> {
    return this.outer.keys()
  }

  clear(): void {
    this.outer.clear()
    this.count = 0
  }

  *entries(): IterableIterator<[a: number, b: number, value: V]> {
    for (const [a, inner] of this.outer) for (const [b, value] of inner) yield [a, b, value]
  }
}
