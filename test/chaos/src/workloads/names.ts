/**
 * Each client creates, renames, truncates and removes files of its own, and knows which must be there, and their sizes.
 * All clients also race for the same names: at most one may create each.
 */
import type { DsmClient, FileStat } from '@quire/dsm-client'
import { WrongError, type Program, type Workload, type WorkloadContext } from './workload.js'

/** A client has so many names whose state it knows. */
const OWN_NAMES = 12
const MAX_SIZE = 16_384

/** The size of the file that has the name, or that none has. `unknown`: a call that would change it has no outcome. */
type Known = number | 'absent' | 'unknown'

/** What a client has learned of one of its names, or a name that it has created before all others. */
type NamesNote = { readonly path: string; readonly state: Known } | { readonly won: string }

interface NamesFacts {
  readonly known: Readonly<Record<string, Known>>
  readonly won: readonly string[]
}

type Listed = Pick<FileStat, 'path' | 'size'>

export const names: Workload<NamesFacts, readonly Listed[], NamesNote> = {
  name: 'names',
  pauseMs: 15,
  program: (context) => new Names(context),
  end: ({ client, folder }) => listAll(client, `${folder}/names/`),
  facts: (notes) => {
    const known: Record<string, Known> = {}
    const won: string[] = []
    for (const note of notes) {
      if ('won' in note) won.push(note.won)
      else known[note.path] = note.state
    }
    return { known, won }
  },
  judge: judgeNames
}

export function judgeNames(facts: readonly NamesFacts[], listed: readonly Listed[]): string[] {
  const there = new Map(listed.map(({ path, size }) => [path, size]))
  const problems = facts.flatMap(({ known }) =>
    Object.entries(known).flatMap(([path, state]) => whyNot(path, state, there.get(path)) ?? [])
  )
  const won = facts.flatMap((each) => each.won)
  const twice = won.find((path, i) => won.indexOf(path) !== i)
  if (twice !== undefined) problems.push(`${twice} was created by two clients`)
  for (const path of won) if (!there.has(path)) problems.push(`${path} was created, and is gone`)
  return problems
}

/** Why a name cannot have a file of this size, or none if that is undefined; undefined if it can. */
function whyNot(path: string, known: Known, size: number | undefined): string | undefined {
  if (known === 'unknown') return undefined
  if (known === 'absent') return size === undefined ? undefined : `${path} was removed, and is back`
  if (size === undefined) return `${path} was created, and is gone`
  return size === known ? undefined : `${path} has ${size} bytes instead of ${known}`
}

async function listAll(client: DsmClient, prefix: string): Promise<Listed[]> {
  const found: Listed[] = []
  for await (const { path, size } of client.list(prefix)) found.push({ path, size })
  return found
}

class Names implements Program {
  private readonly known: Record<string, Known> = {}
  private made = 0
  private race = 0
  private readonly own: string

  constructor(private readonly context: WorkloadContext) {
    this.own = `${context.folder}/names/${context.index}/`
    this.makeNames()
  }

  async step(): Promise<number> {
    const changes = await this.change()
    return changes + (await this.look())
  }

  forget(): void {
    // Each step opens and closes its own files. A name whose state is unknown is not used any more.
    this.makeNames()
  }

  async settle(): Promise<void> {
    // What a call without an outcome has done is known now.
    const there = new Map((await listAll(this.context.client, this.own)).map(({ path, size }) => [path, size]))
    for (const path of this.paths((known) => known === 'unknown')) this.learn(path, there.get(path) ?? 'absent')
  }

  private change(): Promise<number> {
    const draw = this.context.random.next()
    if (draw < 0.35) return this.create()
    if (draw < 0.55) return this.rename()
    if (draw < 0.7) return this.truncate()
    if (draw < 0.9) return this.remove()
    return this.compete()
  }

  private makeNames(): void {
    while (this.paths((known) => known !== 'unknown').length < OWN_NAMES) {
      this.learn(`${this.own}${this.made++}`, 'absent')
    }
  }

  private learn(path: string, state: Known): void {
    this.known[path] = state
    this.note({ path, state })
  }

  private note(note: NamesNote): void {
    this.context.note(note)
  }

  private paths(is: (known: Known) => boolean): string[] {
    return Object.keys(this.known).filter((path) => is(this.known[path]!))
  }

  private async create(): Promise<number> {
    const path = this.pick((known) => known === 'absent')
    if (path === undefined) return 0
    const size = 4096
    this.learn(path, 'unknown')
    const file = await this.context.client.open(path, { create: true, exclusive: true, size })
    this.learn(path, size)
    await file.close()
    return 1
  }

  private async rename(): Promise<number> {
    const from = this.pick(isThere)
    // It may replace a file.
    const to = this.pick((known) => known !== 'unknown')
    if (from === undefined || to === undefined || from === to) return 0
    const size = this.known[from]!
    this.learn(from, 'unknown')
    this.learn(to, 'unknown')
    await this.context.client.rename(from, to)
    this.learn(from, 'absent')
    this.learn(to, size)
    return 1
  }

  private async truncate(): Promise<number> {
    const { client, random } = this.context
    const path = this.pick(isThere)
    if (path === undefined) return 0
    await using file = await client.open(path)
    const size = random.int(0, MAX_SIZE)
    this.learn(path, 'unknown')
    await file.truncate(size)
    this.learn(path, size)
    // The file is opened, too.
    return 2
  }

  private async remove(): Promise<number> {
    const path = this.pick(isThere)
    if (path === undefined) return 0
    this.learn(path, 'unknown')
    await this.context.client.unlink(path)
    this.learn(path, 'absent')
    return 1
  }

  /** Looks a name up. */
  private async look(): Promise<number> {
    const { client, random } = this.context
    const path = random.pick(Object.keys(this.known))
    const size = await client.stat(path).then(
      (stat) => stat.size,
      (error: Error) => {
        if (error.name === 'NoSuchFileError') return undefined
        throw error
      }
    )
    const problem = whyNot(path, this.known[path]!, size)
    if (problem !== undefined) throw new WrongError(problem)
    return 1
  }

  private async compete(): Promise<number> {
    const { client, folder, random } = this.context
    const path = `${folder}/names/race/${(this.race += random.int(1, 2))}`
    try {
      const file = await client.open(path, { create: true, exclusive: true })
      this.note({ won: path })
      await file.close()
    } catch (error) {
      if ((error as Error).name !== 'FileExistsError') throw error
    }
    return 1
  }

  private pick(is: (known: Known) => boolean): string | undefined {
    const paths = this.paths(is)
    return paths.length === 0 ? undefined : this.context.random.pick(paths)
  }
}

function isThere(known: Known): boolean {
  return typeof known === 'number'
}
