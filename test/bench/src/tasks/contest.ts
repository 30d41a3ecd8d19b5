/** Runs contenders in turn, so that all of them meet the same moments of the machine. */

/** Does the work once, and returns its figure: a time or a rate. */
export type Contender = () => Promise<number>

/** The figures of each contender, one for each round. */
export type Figures = Readonly<Record<string, readonly number[]>>

/** The first round warms up and does not count. Each round begins with another contender. */
export async function contest(rounds: number, contenders: Readonly<Record<string, Contender>>): Promise<Figures> {
  const names = Object.keys(contenders)
  const figures = Object.fromEntries(names.map((name) => [name, [] as number[]]))
  for (let round = 0; round <= rounds; round++) {
    for (let i = 0; i < names.length; i++) {
      const name = names[(i + round) % names.length]!
      const figure = await contenders[name]!()
      if (round > 0) figures[name]!.push(figure)
    }
  }
  return figures
}

export interface DuelAsk {
  readonly rounds: number
  /** In each round. */
  readonly operations: number
  /** Operations of each contender before the first round. They do not count. */
  readonly warmUp: number
}

/** All operations of a contender. */
export function operationsOf({ rounds, operations, warmUp }: DuelAsk): number {
  return warmUp + rounds * operations
}

/**
 * As {@link contest}, for short operations: the contenders take turns after each of them. The figure of a round is the
 * median time of its operations in µs. Each contender gets the number of its operation, from 0 on.
 */
export async function duel(
  { rounds, operations, warmUp }: DuelAsk,
  contenders: Readonly<Record<string, (operation: number) => Promise<unknown>>>
): Promise<Figures> {
  const names = Object.keys(contenders)
  const figures = Object.fromEntries(names.map((name) => [name, [] as number[]]))
  for (let round = 0, operation = 0; round <= rounds; round++) {
    const times = Object.fromEntries(names.map((name) => [name, [] as number[]]))
    const end = warmUp + round * operations
    for (; operation < end; operation++) {
      for (let i = 0; i < names.length; i++) {
        const name = names[(i + operation) % names.length]!
        const begin = performance.now()
        await contenders[name]!(operation)
        times[name]!.push((performance.now() - begin) * 1000)
      }
    }
    if (round > 0) for (const name of names) figures[name]!.push(median(times[name]!))
  }
  return figures
}

export function median(samples: readonly number[]): number {
  const sorted = [...samples].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** Operations a second. */
export function rateOf(count: number, beganAt: number): number {
  return count / ((performance.now() - beganAt) / 1000)
}
