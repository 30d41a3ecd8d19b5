import type { Access } from '@quire/protocol'
import type { FileRecord, SessionId } from '../state/view.js'

/**
 * Decides what depends on the unit of ownership: whether sessions own single pages of a file, or the file as a whole.
 *
 * Whole files are in docs/coherence.md, "Whole files as the unit".
 */
export interface OwnerUnit {
  /** The access that a fault gets when it asks for `access`. */
  faultAccess(access: Access): Access
  /** The sessions that may hold a page after an election, of all sessions that mapped the file then. */
  inherited(sessions: Iterable<SessionId>): Iterable<SessionId>
  /** The lane on which a grant travels. */
  laneOf(bytes: Uint8Array | undefined): 'control' | 'bulk'
  /** An owner is granted every page that it waits for, ahead of other sessions, until it has answered a revocation. */
  readonly ownerOvertakes: boolean
  /** An owner may answer an order with the bytes of the page. Otherwise it has written them back before it answers. */
  readonly ownerReturnsBytes: boolean
  /**
   * A discard takes the unit from its owner before it begins, and faults wait at the unit's entry. Otherwise a discard
   * begins first, and holds back the faults in its range.
   */
  readonly recallsBeforeDiscard: boolean
  /** The page that a discard recalls, if its new end cuts the page `cut`. */
  recalledPage(cut: number | undefined): number | undefined
}

const SINGLE_PAGES: OwnerUnit = {
  faultAccess: (access) => access,
  inherited: (sessions) => sessions,
  laneOf: (bytes) => (bytes !== undefined && bytes.length > 0 ? 'bulk' : 'control'),
  ownerOvertakes: false,
  ownerReturnsBytes: true,
  recallsBeforeDiscard: false,
  recalledPage: (cut) => cut
}

const WHOLE_FILE: OwnerUnit = {
  // Such a file has no readers.
  faultAccess: () => 'write',
  // Only its owner holds pages of it, and the owner is on record.
  inherited: () => [],
  // Several grants can be in flight. On one lane they arrive in the order of their faults.
  laneOf: () => 'bulk',
  // An owner may need more pages before it can give any back: a pin can have more pages than a session may have faults.
  ownerOvertakes: true,
  ownerReturnsBytes: false,
  // So that no grant of the range is in flight when the discard begins.
  recallsBeforeDiscard: true,
  // The entry of page 0 stands for the file.
  recalledPage: () => 0
}

/** The unit of a file. Faults on an unknown file are refused page by page. */
export function unitOf(file: Pick<FileRecord, 'unit'> | undefined): OwnerUnit {
  return file?.unit === 'file' ? WHOLE_FILE : SINGLE_PAGES
}
