import { MAX_APPEND_BYTES, MAX_RUN_PAGES, joinRuns, wireBytesOf, type RunRules } from '@quire/protocol'
import type { DirectoryCommand } from '../directory/types.js'

/** Joins the handovers of neighboring pages between the same sessions. The commands keep their order. */
export function joinHandovers(commands: readonly DirectoryCommand[]): readonly DirectoryCommand[] {
  return joinRuns(commands, RULES, MAX_APPEND_BYTES)
}

const RULES: RunRules<DirectoryCommand> = {
  handover: {
    maxPages: MAX_RUN_PAGES,
    size: ({ pages }) => ({
      pages: pages.length,
      bytes: pages.reduce((sum, page) => sum + (page === undefined ? 0 : wireBytesOf(page)), 0)
    }),
    continues: (last, next) =>
      next.file === last.file &&
      next.page === last.page + last.pages.length &&
      next.from === last.from &&
      next.fromEpoch === last.fromEpoch &&
      next.to === last.to,
    join: (commands) => ({ ...commands[0], pages: commands.flatMap(({ pages }) => pages) })
  }
}
