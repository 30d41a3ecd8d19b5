/** Text from the cluster as a terminal may show it: a path can hold any character but NUL. */

/** Control characters, line and paragraph separators, and the marks that turn the direction of writing around. */
const UNSAFE = /[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu
const SHORT: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' }

/**
 * Shows what a terminal would obey or hide: `\n`, `\r` and `\t`, and `\u` with four hexadecimal digits for everything
 * else.
 */
export function showControls(text: string): string {
  return text.replaceAll(UNSAFE, (found) => SHORT[found] ?? `\\u${found.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** The value as JSON on one line, which means the same and which a terminal shows: a string may hold all that a path may. */
export function visibleJson(value: unknown): string {
  // JSON has escapes for the characters below U+0020 only; `\u009b` begins a command to a terminal as well as ESC [ does.
  return showControls(JSON.stringify(value))
}

/** A copy of plain data in which {@link showControls} has been applied to every string. Errors stay what they are. */
export function visibleTexts<T>(value: T): T {
  if (typeof value === 'string') return showControls(value) as T
  if (typeof value !== 'object' || value === null || value instanceof Error) return value
  if (Array.isArray(value)) return value.map((item: unknown) => visibleTexts(item)) as T
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, visibleTexts(item as unknown)])) as T
}

/**
 * A path in a listing. A backslash is doubled, so that two paths never look alike. All other characters stand for
 * themselves.
 */
export function showPath(path: string): string {
  return showControls(path.replaceAll('\\', '\\\\'))
}
