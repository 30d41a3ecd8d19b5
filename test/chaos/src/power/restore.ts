/** Lets a peer lose the power after its processes were killed. */
import {
  closeSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  realpathSync,
  renameSync,
  rmSync,
  writeSync
} from 'node:fs'
import { join, relative } from 'node:path'
import type { RandomSource } from '@quire/testing'
import { readJournals, type Place } from './journal.js'
import { loseNames, loseWrites, undo, type FileLoss, type Lose } from './loss.js'
import type { PowerFolders } from './shim.js'
import { SECTOR_BYTES, undurable, type UndurableName } from './undurable.js'

export interface PowerLossInit extends PowerFolders {
  /** Decides for 'random'. The same numbers and the same journal give the same loss. */
  readonly random: RandomSource
  readonly lose: Lose
}

/** What became of the changes that were not durable. */
export interface PowerLoss {
  /** Writes by what is left of them: all, some sectors, or nothing. */
  readonly writes: { readonly kept: number; readonly torn: number; readonly dropped: number }
  /** Files that have a former size again. */
  readonly sizes: number
  readonly names: { readonly kept: number; readonly undone: number }
}

/**
 * Undoes changes below `root` that were not durable, and empties the journal and limbo. All processes that used `root`
 * must be dead. Call it after every kill, with 'nothing' if the machine goes on: otherwise the journals grow.
 *
 * Throws, and leaves everything as it is, if something happened that the shim cannot undo.
 */
export function losePower({ root, journal, limbo, random, lose }: PowerLossInit): PowerLoss {
  const journals = readdirSync(journal).map((name) => join(journal, name))
  const changes = undurable(readJournals(journals.map((path) => readFileSync(path))))
  const tree = new Tree(realpathSync(root), limbo)
  // Content first: undoing names makes folders anew, which could take the number of an inode in the journal.
  const losses: FileLoss[] = []
  for (const { path, name, inode } of tree.files()) {
    const writes = changes.writes.get(inode)
    if (writes === undefined) continue
    const loss = loseWrites(writes, random.fork(name), lose)
    losses.push(loss)
    rewrite(path, loss)
  }
  const undone = loseNames(changes.names, (folder) => tree.nameOf(folder), random, lose)
  for (const name of undone) tree.undo(name)
  for (const path of journals) rmSync(path)
  for (const name of readdirSync(limbo)) rmSync(join(limbo, name))
  const sum = (count: (loss: FileLoss) => number): number => losses.reduce((all, loss) => all + count(loss), 0)
  return {
    writes: {
      kept: sum(({ kept }) => kept),
      torn: sum(({ torn }) => torn),
      dropped: sum(({ dropped }) => dropped)
    },
    sizes: losses.filter(({ size }) => size !== undefined).length,
    names: { kept: changes.names.length - undone.length, undone: undone.length }
  }
}

function rewrite(path: string, { size, sectors }: FileLoss): void {
  if (size === undefined && sectors.size === 0) return
  const file = openSync(path, 'r+')
  try {
    for (const [sector, writes] of sectors) {
      const bytes = new Uint8Array(SECTOR_BYTES)
      const read = readSync(file, bytes, 0, SECTOR_BYTES, sector * SECTOR_BYTES)
      for (const write of writes) undo(write, sector, bytes)
      // Without a former size, the file keeps its end.
      const end = size === undefined ? read : SECTOR_BYTES
      if (end > 0) writeSync(file, bytes, 0, end, sector * SECTOR_BYTES)
    }
    if (size !== undefined) ftruncateSync(file, size)
  } finally {
    closeSync(file)
  }
}

interface FoundFile {
  readonly path: string
  /** Its path below the root, or in limbo. */
  readonly name: string
  readonly inode: bigint
}

/** The files and folders below the root, and those in limbo. */
class Tree {
  /** Folders that were made anew, by the inode that they had. */
  private readonly remade = new Map<bigint, bigint>()

  constructor(
    private readonly root: string,
    private readonly limbo: string
  ) {}

  /** Each regular file once, however many names it has. */
  files(): FoundFile[] {
    const found = new Map<bigint, FoundFile>()
    for (const folder of [this.root, this.limbo]) {
      for (const path of this.below(folder)) {
        const status = lstatSync(path, { bigint: true })
        if (!status.isFile() || found.has(status.ino)) continue
        found.set(status.ino, { path, name: relative(folder, path), inode: status.ino })
      }
    }
    return [...found.values()]
  }

  /** The path of a folder below the root; its inode if it is gone. */
  nameOf(folder: bigint): string {
    const path = this.find(folder)
    return path === undefined ? String(folder) : relative(this.root, path)
  }

  /** A process that was killed may have announced the change and not made it: then there is nothing to undo. */
  undo({ op, inode, change, from, to }: UndurableName): void {
    const kept = join(this.limbo, op.toString(16).padStart(16, '0'))
    const name = this.pathOf(from)
    switch (change) {
      case 'made':
        rmSync(name, { recursive: true, force: true })
        return
      case 'removed':
        if (!exists(name)) renameSync(kept, name)
        return
      case 'folder removed':
        if (exists(name)) return
        mkdirSync(name)
        this.remade.set(inode, lstatSync(name, { bigint: true }).ino)
        return
      case 'moved':
      case 'replaced': {
        if (exists(name)) return
        const moved = this.pathOf(to!)
        renameSync(moved, name)
        if (change === 'replaced') renameSync(kept, moved)
      }
    }
  }

  private pathOf({ folder, name }: Place): string {
    const path = this.find(this.remade.get(folder) ?? folder)
    if (path === undefined) throw new Error(`${name}: its folder is gone`)
    return join(path, name)
  }

  private find(folder: bigint): string | undefined {
    return [this.root, ...this.below(this.root)].find((path) => lstatSync(path, { bigint: true }).ino === folder)
  }

  private below(folder: string): string[] {
    const names = readdirSync(folder, { recursive: true }) as string[]
    return names.toSorted().map((name) => join(folder, name))
  }
}

/** Whether there is such a name, even if it is a link that leads nowhere. */
function exists(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined
}
