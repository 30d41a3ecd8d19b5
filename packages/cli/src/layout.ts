/** How wide a command's text for people is. */
export const COLUMNS = 80

/** Options of a table without lines, colors and padding. */
export const PLAIN_TABLE = {
  chars: Object.fromEntries(
    ['top', 'top-mid', 'top-left', 'top-right', 'bottom', 'bottom-mid', 'bottom-left', 'bottom-right']
      .concat(['left', 'left-mid', 'mid', 'mid-mid', 'right', 'right-mid', 'middle'])
      .map((part) => [part, ''])
  ),
  style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 }
}

/** Breaks lines at spaces, or anywhere in a word that is longer than a line, as an address may be. */
export function wrap(text: string, width: number): string {
  const line = new RegExp(`(?:.{1,${width}}(?:\\s+|$))|.{${width}}`, 'g')
  return text
    .split('\n')
    .flatMap((part) => part.match(line) ?? [''])
    .map((part) => part.trimEnd())
    .join('\n')
}
