/** Page numbers that follow from the size, page size and unit of ownership of a file. */
import { MAX_FILE_BYTES, isDiffOf, type PageWrite, type WireFileStat } from '@quire/protocol'

type File = Pick<WireFileStat, 'size' | 'pageSize' | 'unit'>

/**
 * Returns the page whose owner owns `page`: page 0 in a file that is owned as a whole. Pages of an unknown file stand
 * for themselves.
 */
export function ownerPage(file: Pick<File, 'unit'> | undefined, page: number): number {
  return file?.unit === 'file' ? 0 : page
}

/** Returns the pages that lose their owners when the pages from `first` up to but without `end` go. */
export function releasedPages(
  { unit }: Pick<File, 'unit'>,
  first: number,
  end: number
): { first: number; end: number } {
  return unit === 'file' ? { first: 0, end: 1 } : { first, end }
}

/** Returns whether the page starts before the end of the file. */
export function isWithin({ size, pageSize }: Pick<File, 'size' | 'pageSize'>, page: number): boolean {
  return page * pageSize < size
}

/** Returns the first page that lies wholly at or beyond `size`. */
export function firstPageBeyond(size: number, pageSize: number): number {
  return Math.ceil(size / pageSize)
}

/** Returns the page that an end at `size` cuts, or undefined if the end lies between two pages. */
export function cutPage(size: number, pageSize: number): number | undefined {
  return size % pageSize === 0 ? undefined : Math.floor(size / pageSize)
}

/** Returns the number after the last page that a file can have. */
export function endOfPages(pageSize: number): number {
  return MAX_FILE_BYTES / pageSize
}

/** Whether the bytes are a page of the file, or a diff of one. A file that is owned as a whole takes no diffs. */
export function isWriteOf(
  { pageSize, unit }: Pick<File, 'pageSize' | 'unit'>,
  { ranges, bytes }: Pick<PageWrite, 'ranges' | 'bytes'>
): boolean {
  if (ranges === undefined) return bytes.length === pageSize
  return unit === 'page' && isDiffOf(pageSize, { ranges, bytes })
}
