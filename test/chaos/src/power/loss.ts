/** Decides which undurable changes a loss of power undoes. Pure: `restore.ts` carries it out. */
import type { RandomSource } from '@quire/testing'
import { SECTOR_BYTES, type UndurableName, type UndurableWrite } from './undurable.js'

/**
 * What becomes of undurable changes. 'nothing': the kernel wrote all of it before, as it does after a while when only a
 * process was killed.
 */
export type Lose = 'everything' | 'random' | 'nothing'

/** What a file becomes. */
export interface FileLoss {
  /** The size, if it changes. */
  readonly size: number | undefined
  /** For each sector that changes, the writes to undo, the newest first. */
  readonly sectors: ReadonlyMap<number, readonly UndurableWrite[]>
  readonly kept: number
  readonly torn: number
  readonly dropped: number
}

/**
 * A sector becomes any one of the versions that it had since its last flush, and each sector does so by itself: writes
 * are lost, reordered and torn. One file in four loses all of it, and one in four nothing, so that files differ.
 */
export function loseWrites(writes: readonly UndurableWrite[], random: RandomSource, lose: Lose): FileLoss {
  const keep = chooser(random, lose)
  const resized = writes.filter((write) => !write.sizeIsDurable && write.sizeAfter !== write.sizeBefore)
  const size = resized[keep(resized.length)]?.sizeBefore
  const sectors = new Map<number, UndurableWrite[]>()
  const fate = new Map(writes.map((write) => [write, { kept: 0, lost: 0 }]))
  for (const [sector, versions] of bySector(writes)) {
    const kept = keep(versions.length)
    for (const [at, write] of versions.entries()) fate.get(write)![at < kept ? 'kept' : 'lost']++
    if (kept < versions.length) sectors.set(sector, versions.slice(kept).toReversed())
  }
  const fates = [...fate.values()]
  return {
    size,
    sectors,
    kept: fates.filter(({ lost }) => lost === 0).length,
    torn: fates.filter(({ kept, lost }) => kept > 0 && lost > 0).length,
    dropped: fates.filter(({ kept, lost }) => kept === 0 && lost > 0).length
  }
}

/** Takes a write away from a sector. Bytes behind the former end of the file become zeros. */
export function undo({ offset, length, replaced }: UndurableWrite, sector: number, bytes: Uint8Array): void {
  const start = sector * SECTOR_BYTES
  const from = Math.max(offset, start)
  const to = Math.min(offset + length, start + SECTOR_BYTES)
  for (let at = from; at < to; at++) bytes[at - start] = replaced[at - offset] ?? 0
}

/**
 * Of each folder's changes the first few survive, any number of them. `nameOf` says what a folder is called, so that
 * the draw does not depend on the numbers of inodes. Returns the changes to undo, the newest first.
 */
export function loseNames(
  names: readonly UndurableName[],
  nameOf: (folder: bigint) => string,
  random: RandomSource,
  lose: Lose
): UndurableName[] {
  const changes = byFolder(names)
  const undone = new Set<UndurableName>()
  for (const [folder, inIt] of changes) {
    const kept = chooser(random.fork(nameOf(folder)), lose)(inIt.length)
    for (const name of inIt.slice(kept)) undone.add(name)
  }
  // A move is a change of two folders. Where one of them loses it, the other loses it as well, with its later changes.
  for (const name of undone) {
    for (const folder of name.unflushed) {
      const inIt = changes.get(folder)!
      for (const later of inIt.slice(inIt.indexOf(name))) undone.add(later)
    }
  }
  return names.filter((name) => undone.has(name)).toReversed()
}

/** Returns a function that draws how many of a number of changes survive. */
function chooser(random: RandomSource, lose: Lose): (changes: number) => number {
  const mood = random.int(0, 3)
  if (lose === 'everything' || (lose === 'random' && mood === 0)) return () => 0
  if (lose === 'nothing' || mood === 1) return (changes) => changes
  return (changes) => random.int(0, changes)
}

function bySector(writes: readonly UndurableWrite[]): [number, UndurableWrite[]][] {
  const sectors = new Map<number, UndurableWrite[]>()
  for (const write of writes) {
    const end = Math.ceil((write.offset + write.length) / SECTOR_BYTES)
    for (let sector = Math.floor(write.offset / SECTOR_BYTES); sector < end; sector++) {
      if (write.durableSectors.some(([first, last]) => sector >= first && sector < last)) continue
      const versions = sectors.get(sector)
      if (versions === undefined) sectors.set(sector, [write])
      else versions.push(write)
    }
  }
  return [...sectors].sort(([a], [b]) => a - b)
}

function byFolder(names: readonly UndurableName[]): Map<bigint, UndurableName[]> {
  const folders = new Map<bigint, UndurableName[]>()
  for (const name of names) {
    for (const folder of name.unflushed) {
      const changes = folders.get(folder)
      if (changes === undefined) folders.set(folder, [name])
      else changes.push(name)
    }
  }
  return folders
}
