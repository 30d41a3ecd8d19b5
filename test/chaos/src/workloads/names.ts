/**
 * Each client creates, renames and removes files of its own, and knows which must be there. All clients also race for
 * the same names: at most one may create each.
 */
import type { DsmClient } from '@quire/dsm-client'
import { WrongError, type Program, type Workload, type WorkloadContext } from './workload.js'

const OWN_NAMES = 12

/** What a client knows of one of its names. `unknown`: a call that would change it has no outcome. */
type Known = 'there' | 'absent' | 'unknown'

/** What a client has learned of one of its names, or a name that it has created before all others. */
type NamesNote = { readonly path: string; readonly state: Known } | { readonly won: string }

interface NamesFacts {
  readonly known: Readonly<Record<string, Known>>
  readonly won: readonly string[]
}

export const names: Workload<NamesFacts, readonly string[], NamesNote> = {
  name: 'names',
  pauseMs: 25,
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

export function judgeNames(facts: readonly NamesFacts[], listed: readonly string[]): string[] {
  const problems: string[] = []
  const there = new Set(listed)
  for (const { known } of facts) {
    for (const [path, state] of Object.entries(known)) {
      if (state === 'there' && !there.has(path)) problems.push(`${path} was created, and is gone`)
      if (state === 'absent' && there.has(path)) problems.push(`${path} was removed, and is back`)
    }
  }
  const won = facts.flatMap((each) => each.won)
  const twice = won.find((path, i) => won.indexOf(path) !== i)
  if (twice !== undefined) problems.push(`${twice} was created by two clients`)
  for (const path of won) if (!there.has(path)) problems.push(`${path} was created, and is gone`)
  return problems
}

async function listAll(client: DsmClient, prefix: string): Promise<string[]> {
  const found: string[] = []
  for await (const { path } of client.list(prefix)) found.push(path)
  return found
}

class Names implements Program {
  private readonly known: Record<string, Known> = {}
  private race = 0
  private readonly own: string

  constructor(private readonly context: WorkloadContext) {
    this.own = `${context.folder}/names/${context.index}/`
    for (let i = 0; i < OWN_NAMES; i++) this.learn(`${this.own}${i}`, 'absent')
  }

  async step(): Promise<void> {
    const { random } = this.context
    const draw = random.next()
    if (draw < 0.35) await this.create()
    else if (draw < 0.55) await this.rename()
    else if (draw < 0.75) await this.remove()
    else if (draw < 0.9) await this.look()
    else await this.compete()
  }

  forget(): void {
    // Each step opens and closes its own files.
  }

  async settle(): Promise<void> {
    // What a call without an outcome has done is known now.
    const there = new Set(await listAll(this.context.client, this.own))
    for (const [path, state] of Object.entries(this.known))
      if (state === 'unknown') this.learn(path, there.has(path) ? 'there' : 'absent')
  }

  private learn(path: string, state: Known): void {
    this.known[path] = state
    this.note({ path, state })
  }

  private note(note: NamesNote): void {
    this.context.note(note)
  }

  private paths(...states: readonly Known[]): string[] {
    return Object.keys(this.known).filter((path) => states.includes(this.known[path]!))
  }

  private async create(): Promise<void> {
    const path = this.pick('absent')
    if (path === undefined) return
    this.learn(path, 'unknown')
    const file = await this.context.client.open(path, { create: true, exclusive: true, size: 4096 })
    this.learn(path, 'there')
    await file.close()
  }

  private async rename(): Promise<void> {
    const from = this.pick('there')
    // It may replace a file.
    const to = this.pick('there', 'absent')
    if (from === undefined || to === undefined || from === to) return
    this.learn(from, 'unknown')
    this.learn(to, 'unknown')
    await this.context.client.rename(from, to)
    this.learn(from, 'absent')
    this.learn(to, 'there')
  }

  private async remove(): Promise<void> {
    const path = this.pick('there')
    if (path === undefined) return
    this.learn(path, 'unknown')
    await this.context.client.unlink(path)
    this.learn(path, 'absent')
  }

  /** Looks a name up. */
  private async look(): Promise<void> {
    const { client, random } = this.context
    const path = random.pick(Object.keys(this.known))
    const before = this.known[path]!
    const isThere = await client.stat(path).then(
      () => true,
      (error: Error) => {
        if (error.name === 'NoSuchFileError') return false
        throw error
      }
    )
    if (before === 'there' && !isThere) throw new WrongError(`${path} was created, and is gone`)
    if (before === 'absent' && isThere) throw new WrongError(`${path} was removed, and is back`)
  }

  private async compete(): Promise<void> {
    const { client, folder, random } = this.context
    const path = `${folder}/names/race/${(this.race += random.int(1, 2))}`
    try {
      const file = await client.open(path, { create: true, exclusive: true })
      this.note({ won: path })
      await file.close()
    } catch (error) {
      if ((error as Error).name !== 'FileExistsError') throw error
    }
  }

  private pick(...states: readonly Known[]): string | undefined {
    const paths = this.paths(...states)
    return paths.length === 0 ? undefined : this.context.random.pick(paths)
  }
}
