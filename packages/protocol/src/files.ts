/** Codecs of files and pages, which messages, log entries and stored records share. */
import { bytes, f64, oneOf, optional, struct, text, uint, type Codec, type TypeOf } from './codec.js'
import { MAX_PAGE_BYTES, MAX_PATH_BYTES } from './limits.js'
import { byteRanges, type ByteRange } from './page-diff.js'

/** The path of a file. It is empty only in the stat of a file that has never had one. */
export const filePath = text(MAX_PATH_BYTES)
export const pageBytes = bytes(MAX_PAGE_BYTES)

/** What sessions own and hand over: single pages, or the file as a whole. */
export const unit = oneOf('page', 'file')
export type Unit = TypeOf<typeof unit>

export const fileStat = struct({
  /** Log index of the entry that created the file. No other file ever gets it. */
  id: uint,
  path: filePath,
  size: uint,
  pageSize: uint,
  unit,
  /** Log index of the last change to the file's bytes or size. */
  version: uint,
  /** How often the file was shortened or punched. */
  discards: uint,
  /** Milliseconds since 1970. */
  createdAt: f64,
  modifiedAt: f64
})
export type WireFileStat = TypeOf<typeof fileStat>

/**
 * A page's bytes on their way back from its owner. `seq` counts the writebacks of one owner under one epoch. Where the
 * file is owned as a whole, it counts those of all pages together.
 */
export const dirtyPage = struct({ file: uint, page: uint, epoch: uint, seq: uint, bytes: pageBytes })
export type DirtyPageBytes = TypeOf<typeof dirtyPage>

/** A page, or with `ranges` a diff against the bytes of writeback `seq - 1`: then `bytes` fill the ranges. */
export type PageWrite = DirtyPageBytes & { readonly ranges?: readonly ByteRange[] | undefined }
export const pageWrite: Codec<PageWrite> = struct({
  file: uint,
  page: uint,
  epoch: uint,
  seq: uint,
  ranges: optional(byteRanges),
  bytes: pageBytes
})

/**
 * What became of a page's writeback. `stale` tells a live session that the bytes were committed before, or that an
 * expiry has discarded them. `base`: nothing was stored, because the diff's base is not there.
 */
export const writeResult = oneOf('stored', 'stale', 'base')
export type WriteResult = TypeOf<typeof writeResult>
