import type { Access, Unit } from '@quire/protocol'

/** An epoch of ownership, and the number of the newest writeback under it. 0, 0: no ownership. */
interface Ownership {
  epoch: number
  seq: number
}

/**
 * Decides what depends on the unit that a session owns: single pages of a file, or the file as a whole.
 *
 * Whole files are in docs/coherence.md, "Whole files as the unit".
 */
export interface HeldUnit {
  /** The access that a fault asks for when the program needs `access`. */
  faultAccess(access: Access): Access
  /** Returns the number of the page's next writeback, which its file may count. */
  nextSeq(file: Ownership, page: Readonly<Ownership>): number
  /** A page's epoch and sequence say which bytes the cluster has of it, so a diff can name its base. */
  readonly hasDiffs: boolean
  /** Takes the ownership of a grant. */
  granted(file: Ownership, page: Ownership, grant: Readonly<Ownership>): void
  /** The leader's orders concern the whole file. Otherwise each concerns one page. */
  readonly isDemotedAsWhole: boolean
  /** The number of pages that a pin of `count` pages asks for at once. */
  pinBatch(count: number): number
  /** The page that a pin from `first` on waits for when it has had `pinned` pages. */
  firstMissing(first: number, pinned: number): number
}

const SINGLE_PAGES: HeldUnit = {
  faultAccess: (access) => access,
  nextSeq: (_, page) => page.seq + 1,
  hasDiffs: true,
  granted: (_, page, grant) => take(page, grant),
  isDemotedAsWhole: false,
  // One by one in ascending order: of two clients that pin the same pages, the client with the first gets them all.
  pinBatch: () => 1,
  firstMissing: (first, pinned) => first + pinned
}

const WHOLE_FILE: HeldUnit = {
  // A client that reads a file becomes its owner.
  faultAccess: () => 'write',
  nextSeq: (file) => ++file.seq,
  hasDiffs: false,
  granted: (file, page, grant) => {
    take(file, grant)
    // The file's `seq` counts the writebacks of all pages. The page keeps its own, which an acknowledgment may name.
    if (page.epoch !== grant.epoch) take(page, grant)
  },
  isDemotedAsWhole: true,
  // All at once: only the owner of the file has pages of it.
  pinBatch: (count) => count,
  // The pages arrive in any order.
  firstMissing: (first) => first
}

/** The state machine takes only newer writebacks, and the client may have dropped its entry during the epoch. */
function take(held: Ownership, { epoch, seq }: Readonly<Ownership>): void {
  held.seq = held.epoch === epoch ? Math.max(held.seq, seq) : seq
  held.epoch = epoch
}

export function heldUnit(unit: Unit): HeldUnit {
  return unit === 'file' ? WHOLE_FILE : SINGLE_PAGES
}
