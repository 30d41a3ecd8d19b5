/** The largest unit that a disk writes as a whole or not at all. A crash may leave any mix of a write's sectors. */
export const SECTOR_BYTES = 512

/**
 * A directory of preallocated files.
 *
 * A crash keeps everything that a resolved `write` or `flushDirectory` covers. Of writes under way it keeps any set of
 * whole sectors. Of creations, renames and removals it keeps the first few, any number of them (a journaling file
 * system keeps their order). Methods reject with NoSpaceError if the disk is full, and with NoDescriptorsError if
 * nothing can be opened; in both cases nothing has happened.
 */
export interface Disk {
  /** Names of all files. */
  list(): Promise<string[]>
  /**
   * Makes a file of `bytes` zeros, durably allocated. The name is durable after `flushDirectory`. Rejects if the file
   * exists.
   */
  create(name: string, bytes: number): Promise<DiskFile>
  open(name: string): Promise<DiskFile>
  /** Opens a file for reading only, synchronously, because readers are synchronous. Throws NoDescriptorsError. */
  openForReading(name: string): ReadFile
  /** Renames a file, and replaces `to` if it exists. Open files stay usable. */
  rename(from: string, to: string): Promise<void>
  /** Removes a file. A missing file is not an error. */
  remove(name: string): Promise<void>
  /** Makes creations, renames and removals durable. */
  flushDirectory(): Promise<void>
}

export interface DiskFile {
  /** Size of the file, which never changes. */
  readonly bytes: number
  /**
   * Resolves when the data is durable; until then `data` must not change. `offset` and the length of `data` are
   * multiples of {@link SECTOR_BYTES}. After a rejection the content of that range is unknown.
   */
  write(offset: number, data: Uint8Array): Promise<void>
  /** Reads synchronously. The caller owns the result. */
  read(offset: number, length: number): Uint8Array
  close(): Promise<void>
}

/** A file that is open for reading only. */
export interface ReadFile extends Pick<DiskFile, 'read'> {
  close(): void
}
