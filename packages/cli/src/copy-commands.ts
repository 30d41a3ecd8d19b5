/** The commands put, get and cat. */
import type { DsmClient } from '@quire/dsm-client'
import { InvalidArgumentError, refusePageSize } from '@quire/protocol'
import type { Command } from 'commander'
import { open, type FileHandle } from 'node:fs/promises'
import { fileName, storedPath, withClient, withCluster, withStoredFile, type ClusterOptions } from './options.js'
import { UsageError, printJson, startProgress, writeOutput, type Progress } from './output.js'
import { replaceLocal, type Replacement } from './replacement.js'
import { cannotRead, standardInput } from './standard-input.js'
import {
  DigestMismatchError,
  digestOf,
  download,
  fileSource,
  streamSource,
  upload,
  verify,
  type Source
} from './transfer.js'

export function addCopyCommands(program: Command): void {
  withCluster(program.command('put'))
    .description('store a local file; once all of it has arrived, it replaces a file under the same path')
    .argument('<local>', 'the local file, or - for standard input', fileName('local'))
    .argument('<path>', 'where to store it', storedPath('path'))
    .option('--page-size <bytes>', 'page size of the new file: a power of two from 4096 to 65536', parsePageSize)
    .action(put)
  withStoredFile(program.command('get'))
    .description('copy a stored file to a local file')
    .argument('<local>', 'the local file to create or replace, or - for standard output', fileName('local'))
    .action(get)
  withStoredFile(program.command('cat')).description('write a stored file to standard output').action(cat)
}

interface PutOptions extends ClusterOptions {
  readonly pageSize?: number
}

async function put(local: string, path: string, options: PutOptions): Promise<void> {
  const source = await openLocal(local)
  try {
    const { size, sha256 } = await withClient(options, async (client) => {
      // The file gets its path when it is complete and verified: no reader finds half a file, and an abandoned one
      // disappears with its session. The size of a stream is unknown, so its writes extend the file.
      const file = await client.createUnnamed({ size: source.size ?? 0, pageSize: options.pageSize })
      const sent = await showing(`put ${path}`, source.size, options, (progress) => upload(source, file, progress))
      await showing(`verify ${path}`, sent.size, options, (progress) => verify(file, sent, progress))
      await file.link(path)
      return sent
    })
    if (options.json === true) printJson({ path, size, sha256 })
  } finally {
    await source.close()
  }
}

async function get(path: string, local: string, options: ClusterOptions): Promise<void> {
  if (STANDARD_OUTPUT.has(local)) return cat(path, options)
  const target = await replaceLocal(local)
  try {
    const { size, sha256 } = await withClient(options, async (client) => {
      const fetched = await fetchInto(target, path, client, options)
      const found = await digestOf(local, target.handle, fetched.size)
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
  target: Replacement,
  path: string,
  client: DsmClient,
  options: ClusterOptions
): Promise<{ size: number; sha256: string }> {
  const file = await client.open(path)
  const { size } = await file.stat()
  const sha256 = await showing(`get ${path}`, size, options, (progress) =>
    download(file, size, progress, (chunk) => target.write(chunk))
  )
  return { size, sha256 }
}

/** Runs `copy` with a progress bar. A stream gets no bar, because its size is unknown. */
async function showing<T>(
  label: string,
  size: number | undefined,
  { json }: ClusterOptions,
  copy: (progress: Progress) => Promise<T>
): Promise<T> {
  const progress = startProgress(label, size ?? 0, json !== true && size !== undefined)
  try {
    return await copy(progress)
  } finally {
    progress.stop()
  }
}

async function cat(path: string, options: ClusterOptions): Promise<void> {
  if (options.json === true) throw new UsageError('--json: standard output carries the bytes of the file')
  await withClient(options, async (client) => {
    const file = await client.open(path)
    const { size } = await file.stat()
    await download(file, size, { add: () => {}, stop: () => {} }, writeOutput)
  })
}

function parsePageSize(text: string): number {
  const bytes = Number(text)
  const refusal = refusePageSize(bytes)
  if (refusal !== undefined) throw new InvalidArgumentError('--page-size', text, refusal.expected)
  return bytes
}

/** Names of the process's own streams. Opening such a name fails for a socket, and would replace a redirected file. */
const STANDARD_INPUT: ReadonlySet<string> = new Set(['-', '/dev/stdin', '/dev/fd/0', '/proc/self/fd/0'])
const STANDARD_OUTPUT: ReadonlySet<string> = new Set(['-', '/dev/stdout', '/dev/fd/1', '/proc/self/fd/1'])

async function openLocal(path: string): Promise<Source> {
  if (STANDARD_INPUT.has(path)) return streamSource('standard input', standardInput())
  let handle: FileHandle | undefined
  try {
    handle = await open(path, 'r')
    const found = await handle.stat()
    // A file that the kernel generates, such as /proc/version, reports no size, like pipes and devices.
    if (found.isFile() && found.size > 0) return fileSource(path, handle, found.size)
    if (!found.isDirectory()) return streamSource(path, handle.createReadStream())
    await handle.close()
  } catch (error) {
    await handle?.close().catch(() => {})
    throw cannotRead(path, error)
  }
  throw new InvalidArgumentError('local', path, 'a file')
}
