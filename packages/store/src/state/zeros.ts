import { MAX_PAGE_BYTES } from '@quire/protocol'
import { compare } from 'uint8arrays/compare'

const ZEROS = new Uint8Array(MAX_PAGE_BYTES)
/** The call of `compare` costs ten times as much as a look at these bytes, which tells for most pages. */
const FIRST_BYTES = 16

/** Whether all bytes of the page are zeros. */
export function isZeros(page: Uint8Array): boolean {
  for (let at = 0; at < FIRST_BYTES; at++) if (page[at] !== 0) return false
  return compare(page, ZEROS.subarray(0, page.length)) === 0
}
