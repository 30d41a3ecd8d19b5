/** The public API of address spaces on a program's own hooks. See types.ts for the errors of every call. */
import type { AddressSpace, CallOptions, LocalMapping, MmapOptions } from './types.js'

/** A fault for a program's hooks. */
export interface PageFault {
  /** The first page. */
  readonly index: number
  /** The number of pages. */
  readonly count: number
  readonly access: 'read' | 'write'
  /**
   * One buffer for each page. For `noPage`: zeros for the hook to fill, which the client copies into the pages when the
   * hook resolves. For `wpPage`: a copy of the pages' bytes, which the client does not read back.
   */
  readonly frames: readonly Uint8Array[]
  /**
   * Aborts when no access waits for the pages any longer, or they are evicted. The client then ignores the hook's
   * outcome.
   */
  readonly signal: AbortSignal
}

export interface DirtyPage {
  readonly index: number
  /** A copy, which belongs to the hook. */
  readonly bytes: Uint8Array
}

/**
 * The hooks that provide the pages of an address space and take them back. An access or a flush rejects with the error
 * of its hook.
 */
export interface VmOperations {
  /**
   * Fills `frames`, because the program accesses a page that is absent or unmapped (kernel: do_no_page). For 'write',
   * the program may write to the pages when this resolves. A page with bytes that are not written back yet keeps them
   * in spite of the fill.
   */
  noPage(fault: PageFault): Promise<void>
  /**
   * Allows writes to a page that the program can read already: it may write when this resolves (kernel: do_wp_page).
   */
  wpPage(fault: PageFault): Promise<void>
  /** Stores the pages, and resolves when they are stored. A rejection keeps them dirty. */
  writePages(pages: readonly DirtyPage[]): Promise<void>
}

export interface AddressSpaceInit {
  /** In bytes. */
  readonly size: number
  readonly ops: VmOperations
  /** A power of two from 4,096 to 65,536. Default 4,096. */
  readonly pageSize?: number
  /** The most bytes of page frames, from 65,536. Default 64 MiB. */
  readonly cacheBytes?: number
  /**
   * How long a call waits for a hook or for a pin; a call over many pages, for the next of them. Then it rejects with
   * UnavailableError or BusyError. Default 30,000.
   */
  readonly faultTimeoutMs?: number
}

/** An address space on a program's own hooks. */
export interface LocalAddressSpace extends AddressSpace, AsyncDisposable {
  readonly size: number
  /**
   * `length` may reach beyond the end, for later growth. Throws InvalidArgumentError, and ClosedError once the space is
   * closed.
   */
  mmap(options?: Omit<MmapOptions, 'signal'>): LocalMapping
  /**
   * Changes the size. Pages beyond the new end go, dirty or not, with private copies; the hooks are not told. Growth
   * shows the bytes of `noPage`. The rest of the last page becomes zeros; if that needs a fault that fails, nothing has
   * changed.
   *
   * Truncations run one after another. Each publishes its size first, and then waits for pins and writes beyond the new
   * end. If these do not end, the call rejects with BusyError, UnavailableError or the signal's reason. The size keeps
   * the value that it has by then, and the rest of the truncation follows when they end.
   */
  truncate(size: number, options?: CallOptions): Promise<void>
  /**
   * Writes everything back. Calls that wait fail with ClosedError, as do calls that come during the close. If a write
   * fails, this rejects, and the space stays open.
   */
  close(options?: CallOptions): Promise<void>
}
