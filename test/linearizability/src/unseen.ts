/**
 * Writes that may not have happened and that no read has seen. Leaving them out changes no verdict, because a read of
 * one of their cells, before it was overwritten, would have found them. Without them the search has far less to try. A
 * write that is undone together with others is not left out: if a read has seen one of those, it has happened.
 */
import type { Operation } from './checker.js'
import { foundBy, rangeOf, type PageInput } from './page-model.js'

export function withoutUnseen(operations: readonly Operation<PageInput>[]): readonly Operation<PageInput>[] {
  const edges = [...new Set(operations.flatMap(({ input }) => rangeOf(input)))].sort((a, b) => a - b)
  const seen = new Map<number, Set<string>>()
  for (const { input } of operations) {
    const found = foundBy(input)
    // Its findings are unknown, so they may be anything.
    if (found === undefined) return operations
    for (const [edge, content] of cells(edges, input.offset, found)) {
      const contents = seen.get(edge)
      if (contents === undefined) seen.set(edge, new Set([content]))
      else contents.add(content)
    }
  }
  const isSeen = ({ offset, bytes }: { readonly offset: number; readonly bytes: string }): boolean =>
    cells(edges, offset, bytes).some(([edge, content]) => seen.get(edge)?.has(content) === true)
  return operations.filter(({ input, isOptional, undoneWith, return: end }) => {
    const isCertain = isOptional !== true && end !== Infinity
    return isCertain || undoneWith !== undefined || input.op !== 'write' || isSeen(input)
  })
}

function cells(edges: readonly number[], offset: number, bytes: string): [number, string][] {
  const end = offset + bytes.length / 2
  const inside = edges.filter((edge) => edge >= offset && edge < end)
  return inside.map((edge, i) => [edge, bytes.slice(2 * (edge - offset), 2 * ((inside[i + 1] ?? end) - offset))])
}
