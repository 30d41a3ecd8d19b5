import { fromString } from 'uint8arrays/from-string'
import { toString } from 'uint8arrays/to-string'

const ELLIPSIS = '…'
const ELLIPSIS_BYTES = 3

/** Cuts a text to at most `maxBytes` bytes of UTF-8. A cut text ends in "…". Lone surrogates become U+FFFD. */
export function clipText(text: string, maxBytes: number): string {
  const bytes = fromString(text)
  if (bytes.length <= maxBytes) return toString(bytes)
  let end = maxBytes - ELLIPSIS_BYTES
  // A byte 10xxxxxx continues a character.
  while (end > 0 && (bytes[end]! & 0xc0) === 0x80) end--
  return toString(bytes.subarray(0, end)) + ELLIPSIS
}
