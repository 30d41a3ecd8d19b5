/** Makes text from the cluster safe for a terminal: a path can hold any character but NUL. */

/** Control characters, line and paragraph separators, and the marks that change the direction of text. */
const UNSAFE = /[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu
const SHORT: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' }

/**
 * Escapes the characters that a terminal would obey or hide: as `\n`, `\r` and `\t`, and all others as `\u` with four
 * hexadecimal digits.
 */
export function showControls(text: string): string {
  return text.replaceAll(UNSAFE, (found) => SHORT[found] ?? `\\u${found.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** The value as JSON on one line, safe for a terminal. It parses to the same value. */
export function visibleJson(value: unknown): string {
  // JSON.stringify escapes only the characters below U+0020, but U+009B begins a terminal command just as ESC [ does.
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
 * A path as listings show it. A backslash is doubled, so that two different paths never look alike.
 */
export function showPath(path: string): string {
  return showControls(path.replaceAll('\\', '\\\\'))
}
