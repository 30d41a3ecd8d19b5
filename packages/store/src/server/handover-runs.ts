import { MAX_APPEND_BYTES, MAX_RUN_PAGES } from '@quire/protocol'
import type { DirectoryCommand } from '../directory/types.js'

type Handover = Extract<DirectoryCommand, { type: 'handover' }>

/** Joins the handovers of neighbouring pages between the same sessions. The commands keep their order. */
export function joinHandovers(commands: readonly DirectoryCommand[]): readonly DirectoryCommand[] {
  if (commands.length < 2) return commands
  const joined: DirectoryCommand[] = []
  let run: Handover[] = []
  let bytes = 0
  const end = (): void => {
    const [first] = run
    if (first !== undefined) joined.push({ ...first, pages: run.flatMap(({ pages }) => pages) })
    run = []
    bytes = 0
  }
  for (const command of commands) {
    if (command.type !== 'handover') {
      end()
      joined.push(command)
      continue
    }
    const more = command.pages.reduce((sum, page) => sum + (page?.bytes.length ?? 0), 0)
    // The directory proposes pages one by one.
    const fits = run.length < MAX_RUN_PAGES && bytes + more <= MAX_APPEND_BYTES
    if (!fits || !continues(run.at(-1), command)) end()
    run.push(command)
    bytes += more
  }
  end()
  return joined
}

function continues(last: Handover | undefined, next: Handover): boolean {
  return (
    last !== undefined &&
    next.file === last.file &&
    next.page === last.page + last.pages.length &&
    next.from === last.from &&
    next.fromEpoch === last.fromEpoch &&
    next.to === last.to
  )
}
