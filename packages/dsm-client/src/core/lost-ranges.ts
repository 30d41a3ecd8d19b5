import type { LostRange } from '@quire/protocol'
import type { AddressSpacePages } from './address-space.js'

/** Returns what a lost session loses: ranges with written bytes that never became durable. */
export function lostRanges(spaces: Iterable<AddressSpacePages>): LostRange[] {
  const lost: LostRange[] = []
  for (const space of spaces) {
    const dirty = [...space.all()].filter((page) => page.dirty).sort((a, b) => a.index - b.index)
    for (const page of dirty) {
      const last = lost.at(-1)
      const offset = page.index * space.pageSize
      if (last?.file === String(space.file) && last.offset + last.length === offset) {
        lost[lost.length - 1] = { ...last, length: last.length + space.pageSize }
      } else {
        lost.push({ file: String(space.file), path: space.path, offset, length: space.pageSize })
      }
    }
  }
  return lost
}
