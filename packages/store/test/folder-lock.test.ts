import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { lockFolder } from '../src/peer/folder-lock.js'

const MODULE = fileURLToPath(new URL('../dist/peer/folder-lock.js', import.meta.url))
/** A disk with a known number of inodes is a file system in memory, which only root may mount. */
const canMount = process.getuid?.() === 0 && process.platform === 'linux'

let root: string
let folder: string
const undo: (() => unknown)[] = []

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'quire-lock-'))
  folder = join(root, 'folder')
  mkdirSync(folder)
})

afterEach(async () => {
  for (const each of undo.splice(0).toReversed()) await each()
  rmSync(root, { recursive: true, force: true })
})

function mount(...args: readonly string[]): void {
  execFileSync('mount', args)
  undo.push(() => execFileSync('umount', ['-l', args.at(-1)!]))
}

/** Replaces `folder` with one on a file system without a free inode. Returns a file that occupies an inode. */
function useUpInodes(): string {
  const disk = join(root, 'disk')
  mkdirSync(disk)
  mount('-t', 'tmpfs', '-o', 'size=1m,nr_inodes=60', 'tmpfs', disk)
  folder = join(disk, 'folder')
  for (const name of ['folder', 'other']) mkdirSync(join(disk, name))
  let file = ''
  try {
    for (let i = 0; ; i++) {
      writeFileSync(join(disk, `${i}`), '')
      file = join(disk, `${i}`)
    }
  } catch (error) {
    expect(error).toMatchObject({ code: 'ENOSPC' })
  }
  return file
}

/** Starts another process that holds the lock. */
async function lockElsewhere(path: string): Promise<{ child: ChildProcess; kill: () => Promise<void> }> {
  const script = `
    import { lockFolder } from ${JSON.stringify(MODULE)}
    await lockFolder(${JSON.stringify(path)})
    console.log('locked')
    setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  const exited = once(child, 'exit')
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL')
    await exited
  }
  undo.push(kill)
  await Promise.race([
    once(child.stdout, 'data'),
    exited.then(() => {
      throw new Error('it did not lock')
    })
  ])
  return { child, kill }
}

const inUse = { name: 'FolderInUseError' }

describe.skipIf(!canMount)('a folder on a file system without a free inode (needs root, to mount)', () => {
  it('a folder on a file system without a free inode is locked by one process, and is free after that process is killed', async () => {
    useUpInodes()
    const { kill } = await lockElsewhere(folder)
    expect(readdirSync(folder)).toEqual([])
    await expect(lockFolder(folder)).rejects.toMatchObject(inUse)
    await kill()
    const lock = await lockFolder(folder)
    await expect(lockFolder(folder)).rejects.toMatchObject(inUse)
    await lock.release()
    await lock.release()
    await (await lockFolder(folder)).release()
  })

  it('a folder that is locked without a free inode stays locked after there are inodes again', async () => {
    const file = useUpInodes()
    await lockElsewhere(folder)
    rmSync(file)
    await expect(lockFolder(folder)).rejects.toMatchObject(inUse)
    expect(readdirSync(folder)).toEqual([])
  })

  it('a folder on a file system without a free inode is locked under every path that leads to it, and no other folder is locked', async () => {
    useUpInodes()
    await lockElsewhere(folder)
    const bound = join(root, 'bound')
    mkdirSync(bound)
    mount('--bind', folder, bound)
    await expect(lockFolder(bound)).rejects.toMatchObject(inUse)
    const moved = join(folder, '..', 'moved')
    renameSync(folder, moved)
    await expect(lockFolder(moved)).rejects.toMatchObject(inUse)
    await (await lockFolder(join(moved, '..', 'other'))).release()
  })

  it('a folder on a file system without a free inode loses the socket of a dead process, and does not count as locked', async () => {
    const file = useUpInodes()
    rmSync(file)
    const { kill } = await lockElsewhere(folder)
    await kill()
    expect(readdirSync(folder)).toHaveLength(1)
    await (await lockFolder(folder)).release()
    expect(readdirSync(folder)).toEqual([])
  })

  it('a folder on a file system without a free inode is refused if no program can lock it', async () => {
    useUpInodes()
    await withoutPrograms(() => expect(lockFolder(folder)).rejects.toMatchObject({ code: 'ENOSPC' }))
  })
})

describe('the lock of a folder', () => {
  it('a folder is locked by its socket alone if no program can lock it', async () => {
    await withoutPrograms(async () => {
      const lock = await lockFolder(folder)
      expect(readdirSync(folder)).toHaveLength(1)
      await expect(lockFolder(folder)).rejects.toMatchObject(inUse)
      await lock.release()
      await (await lockFolder(folder)).release()
    })
  })
})

async function withoutPrograms(act: () => unknown): Promise<void> {
  const { PATH } = process.env
  process.env.PATH = root
  try {
    await act()
  } finally {
    process.env.PATH = PATH
  }
}
