/** put, get and cat. */
import type { DsmClient } from '@quire/dsm-client'
import { InvalidArgumentError, refusePageSize } from '@quire/protocol'
import { InvalidArgumentError as UsageArgumentError, type Command } from 'commander'
import { open, type FileHandle } from 'node:fs/promises'
import { parsePath, withClient, withCluster, type ClusterOptions } from './options.js'
import { printJson, startProgress, writeOutput, type Progress } from './output.js'
import { replaceLocal } from './replacement.js'
import { DigestMismatchError, digestOf, download, readBack, upload } from './transfer.js'

export function addCopyCommands(program: Command): void {
  withCluster(program.command('put'))
    .description('store a local file; what is under the path already is replaced when all has arrived')
    .argument('<local>', 'the local file')
    .argument('<path>', 'where to store it', parsePath)
    .option('--page-size <bytes>', 'a power of two from 4096 to 65536', parsePageSize)
    .action(put)
  withCluster(program.command('get'))
    .description('copy a stored file to a local one')
    .argument('<path>', 'where it is stored', parsePath)
    .argument('<local>', 'the local file, which is replaced')
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
    const { size } = await source.stat()
    const sha256 = await withClient(options, async (client) => {
      // Until it is whole, and verified, it has no path: nobody finds half a file, and one that is given up goes with its session.
      const file = await client.createUnnamed({ size, pageSize: options.pageSize })
      const sent = await showing(`put ${path}`, size, options, (progress) => upload(source, file, size, progress))
      const stored = await showing(`verify ${path}`, size, options, (progress) => readBack(file, size, progress))
      if (sent !== stored) throw new DigestMismatchError(path, sent, stored)
      await file.link(path)
      return sent
    })
    if (options.json === true) printJson({ path, size, sha256 })
  } finally {
    await source.close()
  }
}

async function get(path: string, local: string, options: ClusterOptions): Promise<void> {
  const target = await replaceLocal(local)
  try {
    const { size, sha256 } = await withClient(options, async (client) => {
      const fetched = await fetchInto(target.handle, path, client, options)
      const found = await digestOf(target.handle, fetched.size)
      if (found !== fetched.sha256) throw new DigestMismatchError(local, fetched.sha256, found)
      await target.commit()
      return fetched
    })
    if (options.json === true) printJson({ path, local, size, sha256 })
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
  const sha256 = await showing(`get ${path}`, size, options, (progress) =>
    download(file, size, progress, async (chunk) => {
      for (let done = 0; done < chunk.length;) done += (await target.write(chunk, done)).bytesWritten
    })
  )
  return { size, sha256 }
}

/** Shows how far `copy` has come. */
async function showing<T>(
  label: string,
  size: number,
  { json }: ClusterOptions,
  copy: (progress: Progress) => Promise<T>
): Promise<T> {
  const progress = startProgress(label, size, json !== true)
  try {
    return await copy(progress)
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
