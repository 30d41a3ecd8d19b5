/** Decides whether another peer's copy of a page may take the place of a damaged one. Pure. */
import { crc32c } from '@node-rs/crc32'
import type { PageMessage } from '@quire/protocol'
import type { StoredPage } from '../state/index.js'
import { bodyChecksumOf, type DamagedPage } from './layout.js'

export type PageAnswer = Extract<PageMessage, { type: 'pageCopy' }>

/** This peer's side of the comparison. */
export interface Wanted {
  readonly damage: DamagedPage
  /** The last entry that this peer has applied. */
  readonly appliedIndex: number
  readonly pageSize: number
}

/**
 * The copy to take; 'later' if one of the peers has to apply further entries first; 'useless' if this answer, repeated,
 * would not help.
 *
 * A page's version is the index of the entry that changed it last. So two copies with one version have the same bytes,
 * and if the other peer has applied at least as much as this one, and its version is not newer than what this one has
 * applied, then no entry between has changed the page, and this peer has to have the same version.
 */
export function judgeCopy(
  answer: PageAnswer,
  { damage, appliedIndex, pageSize }: Wanted
): StoredPage | 'later' | 'useless' {
  const { copy, damaged, applied } = answer
  if (damaged) return 'useless'
  // It has applied an entry that this peer has not, which has changed or removed the page.
  if (copy === undefined ? applied > appliedIndex : copy.version > appliedIndex) return 'later'
  const isVersion = copy !== undefined && damage.head !== undefined && copy.version === damage.head.version
  if (!isVersion && applied < appliedIndex) return 'later'
  if (copy === undefined || (damage.head !== undefined && !isVersion)) return 'useless'
  return isWhole(copy, damage, pageSize) ? { version: copy.version, bytes: copy.bytes } : 'useless'
}

function isWhole({ bytes, crc }: NonNullable<PageAnswer['copy']>, { head }: DamagedPage, pageSize: number): boolean {
  if (bytes.length !== pageSize || crc32c(bytes) !== crc) return false
  const expected = head?.bodyChecksum
  return expected === undefined || expected === bodyChecksumOf(bytes)
}
