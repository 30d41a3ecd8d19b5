/** Decides whether another peer's copy of a page may take the place of a damaged one. Pure. */
import { crc32c } from '@node-rs/crc32'
import type { PageMessage } from '@quire/protocol'
import type { StoredPage } from '../state/index.js'
import { markOf, type DamagedPage } from './page-rows.js'

export type PageAnswer = Extract<PageMessage, { type: 'pageCopy' }>

/** This peer's side of the comparison. */
export interface Wanted {
  readonly damage: DamagedPage
  /** The last entry that this peer has applied. */
  readonly appliedIndex: number
  /** The entry of the last checkpoint. The entries since then have not changed the page, or it would not be damaged. */
  readonly durableIndex: number
  readonly pageSize: number
}

/**
 * Why an answer has no copy to take. 'later': one of the peers has to apply further entries first. 'absent': the other
 * peer has no such page, so this one should have none. 'useless': the answer, repeated, would not help.
 */
export type NoCopy = 'later' | 'absent' | 'damaged' | 'useless'

/**
 * Returns the copy to take, or why there is none.
 *
 * A page's version is the index of the entry that changed it last. So two copies with one version have the same bytes.
 * Without a local head, this peer has to have the version of the other one if that has applied all entries which may
 * have changed the page here, and if no entry that this peer lacks has changed it.
 */
export function judgeCopy(answer: PageAnswer, wanted: Wanted): StoredPage | NoCopy {
  const { copy, applied } = answer
  const { damage, appliedIndex, durableIndex, pageSize } = wanted
  const { head } = damage
  if (answer.damaged) return 'damaged'
  // It has applied an entry that this peer has not, which has changed or removed the page.
  if (copy === undefined ? applied > appliedIndex : copy.version > appliedIndex) return 'later'
  const isVersion = copy !== undefined && head !== undefined && copy.version === head.version
  // A page that an entry since the checkpoint has lost has the index of that entry as its version.
  if (!isVersion && applied < Math.max(durableIndex, head?.version ?? 0)) return 'later'
  if (copy === undefined) return head === undefined ? 'absent' : 'useless'
  if (head !== undefined && !isVersion) return 'useless'
  const isWhole = (copy.bytes.length === 0 || copy.bytes.length === pageSize) && crc32c(copy.bytes) === copy.crc
  const bytes = copy.bytes.length === 0 ? undefined : copy.bytes
  const isGood = isWhole && (head?.mark === undefined || head.mark === markOf(bytes))
  return isGood ? { version: copy.version, bytes } : 'useless'
}
