/** What a disk writes whole or not at all. Everything else about a write that a crash interrupts is open. */
export const SECTOR_BYTES = 512

/**
 * A directory of preallocated files. A crash keeps what a settled `write` or `flushDirectory` covered; of writes under way
 * it keeps any set of whole sectors, of creations, renames and removals any number of the first ones (a file system with a
 * journal keeps their order). Rejects with NoSpaceError when the disk is full, with NoDescriptorsError when nothing can be opened;
 * nothing has happened then.
 */
export interface Disk {
  /** Names of all files. */
  list(): Promise<string[]>
  /** Makes a file of `bytes` zeros, durably allocated. Its name is durable after `flushDirectory`. Rejects if it exists. */
  create(name: string, bytes: number): Promise<DiskFile>
  open(name: string): Promise<DiskFile>
  /** For reading alone, and synchronous as reading is. Throws NoDescriptorsError. */
  openForReading(name: string): ReadFile
  /** Replaces `to`. Open files stay usable. */
  rename(from: string, to: string): Promise<void>
  /** A file that is not there was removed before. */
  remove(name: string): Promise<void>
  /** Makes creations, renames and removals durable. */
  flushDirectory(): Promise<void>
}

export interface DiskFile {
  /** The size, which never changes. */
  readonly bytes: number
  /**
   * Durable when it resolves. `offset` and the length of `data` are multiples of {@link SECTOR_BYTES}; `data` must not change
   * until then. After a rejection the file's content in that range is unknown.
   */
  write(offset: number, data: Uint8Array): Promise<void>
  /** Synchronous. The caller owns the result. */
  read(offset: number, length: number): Uint8Array
  close(): Promise<void>
}

/** A file opened for reading alone. */
export interface ReadFile extends Pick<DiskFile, 'read'> {
  close(): void
}
