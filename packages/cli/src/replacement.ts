/** Replaces a local file as a whole: a reader finds either the old bytes or the new ones, even after a crash. */
import { InvalidArgumentError } from '@quire/protocol'
import type { Stats } from 'node:fs'
import { open, realpath, rename, stat, unlink, type FileHandle } from 'node:fs/promises'
import { dirname } from 'node:path'
import { syncFolder, temporaryBeside } from '@quire/store/internal/cli'
import { UsageError } from './output.js'

export interface Replacement {
  /** The new file, for reading it back. */
  readonly handle: FileHandle
  /** Appends all of `chunk` to the new file. Calls must not overlap. */
  write(chunk: Uint8Array): Promise<void>
  /** Flushes the new file and puts it where the old one was. */
  commit(): Promise<void>
  /** Closes the new file, and removes it unless it was committed. */
  close(): Promise<void>
}

/**
 * Creates the new file beside `local`, which must be a regular file, a link to one, or absent. A killed process leaves
 * the new file behind. Its random name blocks no later call.
 */
export async function replaceLocal(local: string): Promise<Replacement> {
  if (local === '') throw new UsageError('local: the name is empty')
  const old = await find(local)
  const place = old === undefined ? local : await realpath(local)
  const temporary = temporaryBeside(place)
  // The file stays private until it has the old file's owner and mode, so that no user can read the new bytes who could
  // not read the old ones.
  const handle = await open(temporary, 'wx+', old === undefined ? 0o666 : 0o600).catch(cannotWrite(local))
  let isDone = false
  const close = async (): Promise<void> => {
    if (!isDone) await unlink(temporary).catch(() => {})
    await handle.close()
  }
  const write = async (chunk: Uint8Array): Promise<void> => {
    for (let done = 0; done < chunk.length;) {
      const { bytesWritten } = await handle.write(chunk, done).catch(cannotWrite(local))
      done += bytesWritten
    }
  }
  const commit = async (): Promise<void> => {
    await handle.sync().catch(cannotWrite(local))
    await rename(temporary, place).catch(cannotWrite(local))
    isDone = true
    try {
      syncFolder(dirname(place))
    } catch (error) {
      cannotWrite(local)(error as NodeJS.ErrnoException)
    }
  }
  try {
    if (old !== undefined) await takeAfter(handle, old).catch(cannotWrite(local))
  } catch (error) {
    await close()
    throw error
  }
  return { handle, write, commit, close }
}

/** Finds the file to replace. */
async function find(local: string): Promise<Stats | undefined> {
  const found = await stat(local).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    return cannotWrite(local)(error)
  })
  if (found?.isFile() === false || (found === undefined && local.endsWith('/'))) {
    throw new InvalidArgumentError('local', local, 'a file')
  }
  return found
}

/**
 * Gives the new file the permissions of the old one, and its owner and group if this process may set them. If the group
 * cannot be kept, the file's new group gets no more permissions than others have. Set-user-id and similar bits applied
 * to the old bytes, so they are dropped.
 */
async function takeAfter(handle: FileHandle, { uid, gid, mode }: Stats): Promise<void> {
  const made = await handle.stat()
  let permissions = mode & 0o777
  if (made.uid !== uid || made.gid !== gid) {
    const isOwned = await tryChown(handle, uid, gid)
    const isInGroup = isOwned || made.gid === gid || (await tryChown(handle, made.uid, gid))
    if (!isInGroup) permissions &= 0o707 | ((permissions & 0o007) << 3)
  }
  await handle.chmod(permissions)
}

async function tryChown(handle: FileHandle, uid: number, gid: number): Promise<boolean> {
  try {
    await handle.chown(uid, gid)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EPERM') return false
    throw error
  }
}

function cannotWrite(local: string): (error: NodeJS.ErrnoException) => never {
  return (error) => {
    throw new Error(`${local}: cannot be written (${error.code})`, { cause: error })
  }
}
