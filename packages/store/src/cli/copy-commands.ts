/** put, get and cat. */
import type { DsmClient } from '@quire/dsm-client'
import { FileExistsError, InvalidArgumentError, refusePageSize } from '@quire/protocol'
import { InvalidArgumentError as UsageArgumentError, type Command } from 'commander'
import { randomBytes } from 'node:crypto'
import { open, realpath, rename, stat, unlink, type FileHandle } from 'node:fs/promises'
import { dirname } from 'node:path'
import { syncFolder } from '../peer/durable.js'
import { parseFileName, parsePath, withClient, withCluster, type ClusterOptions } from './options.js'
import { UsageError, printJson, startProgress, writeOutput } from './output.js'
import {
  DigestMismatchError,
  digestOf,
  download,
  fileSource,
  streamSource,
  upload,
  type Sent,
  type Source
} from './transfer.js'

export function addCopyCommands(program: Command): void {
  withCluster(program.command('put'))
    .description('store a local file; what is under the path already is replaced when all has arrived')
    .argument('<local>', 'the local file, or - for standard input', parseFileName)
    .argument('<path>', 'where to store it', parsePath)
    .option('--page-size <bytes>', 'a power of two from 4096 to 65536', parsePageSize)
    .action(put)
  withCluster(program.command('get'))
    .description('copy a stored file to a local one')
    .argument('<path>', 'where it is stored', parsePath)
    .argument('<local>', 'the local file, which is replaced, or - for standard output', parseFileName)
    .action(get)
  withCluster(program.command('cat'))
    .description('write a stored file to standard output')
    .argument('<path>', 'where it is stored', parsePath)
    .action(cat)
}

interface PutOptions extends ClusterOptions {
  readonly pageSize?: number
}

async function put(local: string, path: string, options: PutOptions): Promise<void> {
  const source = await openLocal(local)
  try {
    // Under a name of its own until it is whole: nobody finds half a file.
    const temporary = `/.put/${randomBytes(8).toString('hex')}`
    const store = async (client: DsmClient): Promise<Sent> => {
      const sent = await uploadTo(temporary, source, path, client, options)
      // With another session, so that no byte comes from the cache of the one that wrote.
      const stored = await withClient(options, (reader) => verify(temporary, sent.size, path, reader, options))
      if (sent.sha256 !== stored) throw new DigestMismatchError(path, sent.sha256, stored)
      await client.rename(temporary, path)
      return sent
    }
    const { size, sha256 } = await withClient(options, store, (client, signal) => client.unlink(temporary, { signal }))
    if (options.json === true) printJson({ path, size, sha256 })
  } finally {
    await source.close()
  }
}

async function uploadTo(
  temporary: string,
  source: Source,
  path: string,
  client: DsmClient,
  { json, pageSize }: PutOptions
): Promise<Sent> {
  // Of a stream, what is written makes the file longer.
  const { size = 0 } = source
  const file = await client.open(temporary, { create: true, exclusive: true, size, pageSize })
  const progress = startProgress(`put ${path}`, size, json !== true && source.size !== undefined)
  try {
    const sent = await upload(source, file, progress)
    await file.close()
    return sent
  } finally {
    progress.stop()
  }
}

async function verify(
  temporary: string,
  size: number,
  path: string,
  client: DsmClient,
  { json }: PutOptions
): Promise<string> {
  const file = await client.open(temporary)
  const progress = startProgress(`verify ${path}`, size, json !== true)
  try {
    return await download(file, size, progress, async () => {})
  } finally {
    progress.stop()
  }
}

async function get(path: string, local: string, options: ClusterOptions): Promise<void> {
  if (STANDARD_OUTPUT.has(local)) {
    if (options.json === true) throw new UsageError('--json: standard output takes the bytes of the file')
    return cat(path, options)
  }
  const place = await placeOf(local)
  const temporary = `${place}.${process.pid}.part`
  const target = await openNew(temporary)
  try {
    const { size, sha256 } = await withClient(options, (client) => fetchInto(target, path, client, options))
    await target.sync()
    const found = await digestOf(target, size)
    if (found !== sha256) throw new DigestMismatchError(temporary, sha256, found)
    await rename(temporary, place)
    syncFolder(dirname(place))
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
  client: DsmClient,
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

async function cat(path: string, options: ClusterOptions): Promise<void> {
  await withClient(options, async (client) => {
    const file = await client.open(path)
    const { size } = await file.stat()
    await download(file, size, { add: () => {}, stop: () => {} }, writeOutput)
  })
}

function parsePageSize(text: string): number {
  const bytes = Number(text)
  const refusal = refusePageSize(bytes)
  if (refusal !== undefined) throw new UsageArgumentError(`must be ${refusal.expected}.`)
  return bytes
}

/** Where the file is to be: what is there is replaced, so it may be a file, or a link to one, and nothing else. */
async function placeOf(local: string): Promise<string> {
  const found = await stat(local).catch(() => undefined)
  if (found === undefined) return local
  if (!found.isFile()) throw new InvalidArgumentError('local', local, 'a file')
  return realpath(local)
}

/** Opening them by these names would fail where they are sockets, and replace the file where they are one. */
const STANDARD_INPUT: ReadonlySet<string> = new Set(['-', '/dev/stdin', '/dev/fd/0', '/proc/self/fd/0'])
const STANDARD_OUTPUT: ReadonlySet<string> = new Set(['-', '/dev/stdout', '/dev/fd/1', '/proc/self/fd/1'])

async function openLocal(path: string): Promise<Source> {
  if (STANDARD_INPUT.has(path)) return streamSource(process.stdin)
  let handle: FileHandle | undefined
  try {
    handle = await open(path, 'r')
    const found = await handle.stat()
    // Files that the kernel makes up as they are read have no size, like pipes and devices.
    if (found.isFile() && found.size > 0) return fileSource(handle, found.size)
    if (!found.isDirectory()) return streamSource(handle.createReadStream())
    await handle.close()
  } catch (error) {
    await handle?.close().catch(() => {})
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
    throw new Error(`${path.replace(/\.\d+\.part$/, '')}: cannot be written (${code})`, { cause: error })
  }
}
