/** The commands ls, stat, rm, mv and truncate. */
import type { FileStat } from '@quire/dsm-client'
import { InvalidArgumentError, refuseSize } from '@quire/protocol'
import type { Command } from 'commander'
import { parsePrefix, storedPath, withClient, withCluster, withStoredFile, type ClusterOptions } from './options.js'
import { printJson, printLine, writeOutput } from './output.js'
import { showPath, visibleJson } from './visible.js'

export function addFileCommands(program: Command): void {
  withCluster(program.command('ls'))
    .description('list the files whose path starts with a prefix; control characters appear as escapes such as \\n')
    .argument('[prefix]', 'the beginning of paths', parsePrefix)
    .option('-l, --long', 'also print size, version and time of the last change')
    .action(list)
  withStoredFile(program.command('stat'))
    .description('print what the cluster knows about a stored file')
    .action(showStat)
  withStoredFile(program.command('rm'))
    .description('remove a path; a client that has the file open keeps it until it closes it')
    .action(remove)
  withCluster(program.command('mv'))
    .description('rename a file; it replaces a file under the new path')
    .argument('<from>', 'the path of the stored file', storedPath('from'))
    .argument('<to>', 'its new path', storedPath('to'))
    .action(move)
  withStoredFile(program.command('truncate'))
    .description('shorten a file, or extend it with zeros')
    .argument('<size>', 'its new size in bytes', parseSize)
    .action(truncate)
}

async function remove(path: string, options: ClusterOptions): Promise<void> {
  await withClient(options, (client) => client.unlink(path))
  if (options.json === true) printJson({ path })
}

async function move(from: string, to: string, options: ClusterOptions): Promise<void> {
  await withClient(options, (client) => client.rename(from, to))
  if (options.json === true) printJson({ from, to })
}

async function truncate(path: string, size: number, options: ClusterOptions): Promise<void> {
  await withClient(options, async (client) => {
    const file = await client.open(path)
    await file.truncate(size)
  })
  if (options.json === true) printJson({ path, size })
}

function parseSize(text: string): number {
  const size = Number(text)
  if (!/^\d+$/.test(text) || refuseSize(size) !== undefined) {
    throw new InvalidArgumentError('size', text, 'a number of bytes, at most 2^52')
  }
  return size
}

async function list(prefix: string | undefined, options: ClusterOptions & { readonly long?: boolean }): Promise<void> {
  await withClient(options, async (client) => {
    for await (const file of client.list(prefix ?? '/')) {
      await writeOutput(listLine(file, options) + '\n')
    }
  })
}

function listLine(file: FileStat, { json, long }: { json?: boolean; long?: boolean }): string {
  if (json === true) return visibleJson(statFields(file))
  if (long !== true) return showPath(file.path)
  const { size, version, modifiedAt } = file
  return `${String(size).padStart(14)} ${String(version).padStart(10)} ${modifiedAt.toISOString()} ${showPath(file.path)}`
}

async function showStat(path: string, options: ClusterOptions): Promise<void> {
  const fields = statFields(await withClient(options, (client) => client.stat(path)))
  if (options.json === true) return printJson(fields)
  for (const [name, value] of Object.entries({ ...fields, path: showPath(path) })) {
    printLine(`${name.padEnd(12)}${value}`)
  }
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
