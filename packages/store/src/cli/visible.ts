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

/**
 * A path in a listing. A backslash is doubled, so that two paths never look alike. All other characters stand for
 * themselves.
 */
export function showPath(path: string): string {
  return showControls(path.replaceAll('\\', '\\\\'))
}
