/** What a file's pages are to its size and to its unit of ownership. */
import { MAX_FILE_BYTES, type WireFileStat } from '@quire/protocol'

type File = Pick<WireFileStat, 'size' | 'pageSize' | 'unit'>

/** The page under which a page's owner is on record: a file that is owned as a whole has one owner, under page 0. */
export function ownerPage({ unit }: Pick<File, 'unit'>, page: number): number {
  return unit === 'file' ? 0 : page
}

export function isWithin({ size, pageSize }: Pick<File, 'size' | 'pageSize'>, page: number): boolean {
  return page * pageSize < size
}

/** The first page that lies wholly at or beyond `size`. */
export function firstPageBeyond(size: number, pageSize: number): number {
  return Math.ceil(size / pageSize)
}

/** The page that an end at `size` cuts; undefined where it lies between two pages. */
export function cutPage(size: number, pageSize: number): number | undefined {
  return size % pageSize === 0 ? undefined : Math.floor(size / pageSize)
}

/** One more than the last page that any file can have. */
export function endOfPages(pageSize: number): number {
  return MAX_FILE_BYTES / pageSize
}
