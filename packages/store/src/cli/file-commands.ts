/** put, get, cat, ls and stat. */
import type { DsmFile, FileStat } from '@quire/dsm-client'
import { FileExistsError, InvalidArgumentError, QuireError } from '@quire/protocol'
import { InvalidArgumentError as UsageArgumentError, type Command } from 'commander'
import { createHash } from 'node:crypto'
import { open, rename, stat, unlink, type FileHandle } from 'node:fs/promises'
import { dirname } from 'node:path'
import { syncFolder } from '../peer/durable.js'
import { withClient, withCluster, type ClusterOptions } from './options.js'
import { printJson, printLine, startProgress, writeOutput, type Progress } from './output.js'

/** Bytes that are read or written in one call, and calls that are under way at once. */
const CHUNK_BYTES = 128 * 1024
const CHUNKS_AT_ONCE = 16

/** What arrived is not what was sent. */
class DigestMismatchError extends QuireError {
  override readonly name = 'DigestMismatchError'
  readonly code = 'ERR_DIGEST'
  constructor(
    readonly where: string,
    readonly expected: string,
    readonly found: string
  ) {
    super(`${where}: its SHA-256 is ${found}, not ${expected}`, [where, expected, found])
  }
}

export function addFileCommands(program: Command): void {
  withCluster(program.command('put <local> <path>'))
    .description('store a local file under a path that is not in use')
    .option('--page-size <bytes>', 'a power of two from 4096 to 65536', parsePageSize)
    .action(put)
  withCluster(program.command('get <path> <local>')).description('copy a stored file to a local one').action(get)
  withCluster(program.command('cat <path>')).description('write a stored file to standard output').action(cat)
  withCluster(program.command('ls [prefix]'))
    .description('list the files whose path starts with a prefix')
    .option('-l, --long', 'with size, version and time of the last change')
    .action(list)
  withCluster(program.command('stat <path>')).description('what is known of a stored file').action(showStat)
}

interface PutOptions extends ClusterOptions {
  readonly pageSize?: number
}

async function put(local: string, path: string, options: PutOptions): Promise<void> {
  const source = await openLocal(local)
  try {
    const { size } = await source.stat()
    const sent = await withClient(options, async (client) => {
      const file = await client.open(path, { create: true, exclusive: true, size, pageSize: options.pageSize })
      const progress = startProgress(`put ${path}`, size, options.json !== true)
      try {
        return await upload(source, file, size, progress)
      } finally {
        progress.stop()
      }
    })
    // With another session, so that no byte comes from the cache of the one that wrote.
    const stored = await withClient(options, async (client) => {
      const file = await client.open(path)
      const progress = startProgress(`verify ${path}`, size, options.json !== true)
      try {
        return await download(file, size, progress, async () => {})
      } finally {
        progress.stop()
      }
    })
    if (sent !== stored) throw new DigestMismatchError(path, sent, stored)
    if (options.json === true) printJson({ path, size, sha256: sent })
  } finally {
    await source.close()
  }
}

async function upload(source: FileHandle, file: DsmFile, size: number, progress: Progress): Promise<string> {
  const digest = createHash('sha256')
  const writes = new Set<Promise<void>>()
  let failure: unknown
  for (let offset = 0; offset < size && failure === undefined;) {
    const chunk = await readChunk(source, offset, Math.min(CHUNK_BYTES, size - offset))
    digest.update(chunk)
    const write = file.write(offset, chunk).then(
      () => {
        writes.delete(write)
        progress.add(chunk.length)
      },
      (error: unknown) => {
        writes.delete(write)
        failure ??= error ?? new Error('writing failed')
      }
    )
    writes.add(write)
    offset += chunk.length
    if (writes.size >= CHUNKS_AT_ONCE) await Promise.race(writes)
  }
  await Promise.all(writes)
  if (failure !== undefined) throw failure as Error
  await file.sync()
  return digest.digest('hex')
}

async function readChunk(source: FileHandle, offset: number, length: number): Promise<Uint8Array> {
  const chunk = new Uint8Array(length)
  for (let done = 0; done < length;) {
    const { bytesRead } = await source.read(chunk, done, length - done, offset + done)
    if (bytesRead === 0) throw new Error('the local file became shorter while it was read')
    done += bytesRead
  }
  return chunk
}

/** Reads `size` bytes with some calls ahead and hands them to `take` in order. Resolves with their digest. */
async function download(
  file: DsmFile,
  size: number,
  progress: Progress,
  take: (chunk: Uint8Array) => Promise<void>
): Promise<string> {
  const digest = createHash('sha256')
  const ahead: Promise<Uint8Array>[] = []
  let next = 0
  const fill = (): void => {
    while (ahead.length < CHUNKS_AT_ONCE && next < size) {
      const read = file.read(next, Math.min(CHUNK_BYTES, size - next))
      // Its failure is met when its turn comes.
      read.catch(() => {})
      ahead.push(read)
      next += CHUNK_BYTES
    }
  }
  for (let offset = 0; offset < size;) {
    fill()
    const chunk = await ahead.shift()!
    if (chunk.length < Math.min(CHUNK_BYTES, size - offset))
      throw new Error(`${file.path} became shorter while it was read`)
    digest.update(chunk)
    await take(chunk)
    progress.add(chunk.length)
    offset += chunk.length
  }
  return digest.digest('hex')
}

async function get(path: string, local: string, options: ClusterOptions): Promise<void> {
  if ((await stat(local).catch(() => undefined))?.isDirectory() === true)
    throw new InvalidArgumentError('local', local, 'a file')
  const temporary = `${local}.${process.pid}.part`
  const target = await openNew(temporary)
  try {
    const { size, sha256 } = await withClient(options, (client) => fetchInto(target, path, client, options))
    await target.sync()
    const found = await digestOf(target, size)
    if (found !== sha256) throw new DigestMismatchError(temporary, sha256, found)
    await rename(temporary, local)
    syncFolder(dirname(local))
    if (options.json === true) printJson({ path, local, size, sha256 })
  } catch (error) {
    await unlink(temporary).catch(() => {})
    throw error
  } finally {
    await target.close()
  }
}

async function fetchInto(
  target: FileHandle,
  path: string,
  client: Parameters<Parameters<typeof withClient>[1]>[0],
  options: ClusterOptions
): Promise<{ size: number; sha256: string }> {
  const file = await client.open(path)
  const { size } = await file.stat()
  const progress = startProgress(`get ${path}`, size, options.json !== true)
  try {
    const sha256 = await download(file, size, progress, async (chunk) => {
      for (let done = 0; done < chunk.length;) done += (await target.write(chunk, done)).bytesWritten
    })
    return { size, sha256 }
  } finally {
    progress.stop()
  }
}

async function digestOf(file: FileHandle, size: number): Promise<string> {
  const digest = createHash('sha256')
  for (let offset = 0; offset < size; offset += CHUNK_BYTES) {
    digest.update(await readChunk(file, offset, Math.min(CHUNK_BYTES, size - offset)))
  }
  return digest.digest('hex')
}

async function cat(path: string, options: ClusterOptions): Promise<void> {
  await withClient(options, async (client) => {
    const file = await client.open(path)
    const { size } = await file.stat()
    await download(file, size, { add: () => {}, stop: () => {} }, writeOutput)
  })
}

async function list(prefix: string | undefined, options: ClusterOptions & { readonly long?: boolean }): Promise<void> {
  await withClient(options, async (client) => {
    for await (const file of client.list(prefix ?? '/')) {
      await writeOutput(listLine(file, options) + '\n')
    }
  })
}

function listLine(file: FileStat, { json, long }: { json?: boolean; long?: boolean }): string {
  if (json === true) return JSON.stringify(statFields(file))
  if (long !== true) return file.path
  const { size, version, modifiedAt } = file
  return `${String(size).padStart(14)} ${String(version).padStart(10)} ${modifiedAt.toISOString()} ${file.path}`
}

async function showStat(path: string, options: ClusterOptions): Promise<void> {
  const fields = statFields(await withClient(options, (client) => client.stat(path)))
  if (options.json === true) return printJson(fields)
  for (const [name, value] of Object.entries(fields)) printLine(`${name.padEnd(12)}${value}`)
}

function statFields(file: FileStat): Record<string, string | number> {
  const { path, id, size, pageSize, unit, version, createdAt, modifiedAt } = file
  return {
    path,
    id,
    size,
    pageSize,
    unit,
    version,
    createdAt: createdAt.toISOString(),
    modifiedAt: modifiedAt.toISOString()
  }
}

function parsePageSize(text: string): number {
  const bytes = Number(text)
  if (![4096, 8192, 16_384, 32_768, 65_536].includes(bytes)) {
    throw new UsageArgumentError('must be a power of two from 4096 to 65536.')
  }
  return bytes
}

async function openLocal(path: string): Promise<FileHandle> {
  try {
    const handle = await open(path, 'r')
    if ((await handle.stat()).isFile()) return handle
    await handle.close()
  } catch (error) {
    throw new Error(`${path}: cannot be read (${(error as NodeJS.ErrnoException).code})`, { cause: error })
  }
  throw new InvalidArgumentError('local', path, 'a file')
}

async function openNew(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'wx+', 0o666)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST') throw new FileExistsError(path)
    throw new Error(`${path}: cannot be written (${code})`, { cause: error })
  }
}
