/**
 * Returns the first key that an object of this JSON text has twice; undefined if there is none. JSON.parse silently
 * takes the last of them. The text must be valid JSON.
 */
export function repeatedKey(text: string): string | undefined {
  /** The keys of each object that is open, innermost last; undefined stands for an array. */
  const open: (Set<string> | undefined)[] = []
  // Strings come first in the pattern, because a brace inside a string opens nothing. A key is a string before a colon.
  for (const [token, , colon] of text.matchAll(/("(?:[^"\\]|\\.)*")(\s*:)?|[{}[\]]/g)) {
    if (token === '{') open.push(new Set())
    else if (token === '[') open.push(undefined)
    else if (token === '}' || token === ']') open.pop()
    if (colon === undefined) continue
    const key = JSON.parse(token.slice(0, -colon.length)) as string
    const keys = open.at(-1)
    if (keys?.has(key) === true) return key
    keys?.add(key)
  }
  return undefined
}
