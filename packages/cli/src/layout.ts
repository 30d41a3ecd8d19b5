/** How wide a command's text for people is. */
export const COLUMNS = 80

/** Breaks lines at spaces, or anywhere in a word that is longer than a line, as an address may be. */
export function wrap(text: string, width: number): string {
  const line = new RegExp(`(?:.{1,${width}}(?:\\s+|$))|.{${width}}`, 'g')
  return text
    .split('\n')
    .flatMap((part) => part.match(line) ?? [''])
    .map((part) => part.trimEnd())
    .join('\n')
}
