/** The ways of streams through the simulated network. */

/** The nodes along a stream: one end, the relay if there is one, and the other end. */
export type Path = readonly string[]

/** A link of a path: the node that sends, and the one that receives. */
export type Hop = readonly [string, string]

/** The links along a path. */
export function hopsOf(path: Path): readonly Hop[] {
  return path.slice(1).map((to, i) => [path[i]!, to] as const)
}

export function isSamePath(a: Path, b: Path): boolean {
  return a.length === b.length && a.every((id, i) => id === b[i])
}
