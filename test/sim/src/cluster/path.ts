/** The ways of streams through the simulated network. */

/** The nodes along a stream: one end, the relay if there is one, and the other end. */
export type Path = readonly string[]

/** The links along a path, each as the node that sends and the node that receives. */
/** Two neighbors on a path. */
export type Hop = readonly [string, string]

export function hopsOf(path: Path): readonly Hop[] {
  return path.slice(1).map((to, i) => [path[i]!, to] as const)
}

export function isSamePath(a: Path, b: Path): boolean {
  return a.length === b.length && a.every((id, i) => id === b[i])
}
