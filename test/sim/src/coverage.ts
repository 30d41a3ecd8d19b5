/** Counts how often each case that a simulation is for has occurred. */
export class Coverage {
  readonly counts = new Map<string, number>()

  add(name: string, count = 1): void {
    this.counts.set(name, (this.counts.get(name) ?? 0) + count)
  }

  get(name: string): number {
    return this.counts.get(name) ?? 0
  }

  merge(counts: Iterable<readonly [string, number]>): void {
    for (const [name, count] of counts) this.add(name, count)
  }
}
