/** RandomSource from a seed: the same numbers on every machine. */
import type { Random } from '@quire/protocol'

export interface RandomSource extends Random {
  /** A whole number from `low` up to and with `high`. */
  int(low: number, high: number): number
  /** A number from `low` up to `high`. */
  between(low: number, high: number): number
  /** Few large values, many small ones: `mean` on average, at most ten times that. */
  exponential(mean: number): number
  /** True with probability `p`. */
  is(p: number): boolean
  pick<T>(items: readonly T[]): T
  /** Another source, which depends on this one's seed and `name` alone and not on how much was drawn here. */
  fork(name: string): RandomSource
}

/** xoshiro128** (Blackman, Vigna: "Scrambled Linear Pseudorandom Number Generators"), seeded by SplitMix32. */
export function createRandomSource(seed: number): RandomSource {
  return new Xoshiro(seed >>> 0)
}

/** Computes the numbers of one seed by xoshiro128**. */
class Xoshiro implements RandomSource {
  private a: number
  private b: number
  private c: number
  private d: number

  constructor(private readonly seed: number) {
    let state = seed
    const next = (): number => {
      state = (state + 0x9e3779b9) >>> 0
      let z = state
      z = Math.imul(z ^ (z >>> 16), 0x85ebca6b)
      z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35)
      return (z ^ (z >>> 16)) >>> 0
    }
    this.a = next()
    this.b = next()
    this.c = next()
    this.d = next()
  }

  next(): number {
    const result = Math.imul(rotate(Math.imul(this.b, 5), 7), 9) >>> 0
    const t = this.b << 9
    this.c ^= this.a
    this.d ^= this.b
    this.b ^= this.c
    this.a ^= this.d
    this.c ^= t
    this.d = rotate(this.d, 11)
    return result / 2 ** 32
  }

  int(low: number, high: number): number {
    return low + Math.floor(this.next() * (high - low + 1))
  }

  between(low: number, high: number): number {
    return low + this.next() * (high - low)
  }

  exponential(mean: number): number {
    return mean * Math.min(10, -Math.log(1 - this.next()))
  }

  is(p: number): boolean {
    return this.next() < p
  }

  pick<T>(items: readonly T[]): T {
    return items[Math.floor(this.next() * items.length)]!
  }

  fork(name: string): RandomSource {
    let hash = this.seed ^ 0x811c9dc5
    for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193)
    return new Xoshiro((hash ^ (hash >>> 15)) >>> 0)
  }
}

function rotate(value: number, by: number): number {
  return (value << by) | (value >>> (32 - by))
}
