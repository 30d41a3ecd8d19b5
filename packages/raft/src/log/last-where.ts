/** Position of the last item that passes `test`, where a prefix of the items passes; -1 if none does. */
export function lastWhere<T>(items: readonly T[], test: (item: T) => boolean): number {
  let low = -1
  let high = items.length - 1
  while (low < high) {
    const middle = Math.ceil((low + high) / 2)
    if (test(items[middle]!)) low = middle
    else high = middle - 1
  }
  return low
}
