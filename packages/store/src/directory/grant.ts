import type { LeaderMessageOf } from '@quire/protocol'
import type { StateView } from '../state/view.js'

/** A grant of one page, before the page was read. `have` is the version of the session's copy, or 0. */
export type UnreadGrant = Omit<LeaderMessageOf<'grant'>, 'pages'> & { readonly have: number }

/** Stands for a page of zeros, whose bytes do not travel. */
const NO_BYTES = new Uint8Array(0)

/** Adds the page's version and its bytes, unless the session has this version. Throws DamagedPageError. */
export function readGrant(view: StateView, { have, ...grant }: UnreadGrant): LeaderMessageOf<'grant'> {
  const { file, page } = grant
  if (have !== 0 && have === view.version(file, page)) {
    return { ...grant, pages: [{ version: have, bytes: undefined }] }
  }
  const { version, bytes = NO_BYTES } = view.page(file, page)
  return { ...grant, pages: [{ version, bytes }] }
}
