/** Processes that end with this one, however it ends. */
import { spawnSync } from 'node:child_process'

/** util-linux. The kernel sends the signal when the thread that has started the process is gone. */
const SETPRIV = ['setpriv', '--pdeathsig', 'KILL', '--']
let canTie: boolean | undefined

/**
 * The command line that runs `command` and ends it with this process. Its process keeps its id. Unlike the end of its
 * standard input, the kernel's signal also ends a process that is stopped. Elsewhere than on Linux, it is `command`.
 */
export function tied(command: readonly string[]): readonly string[] {
  canTie ??= spawnSync(SETPRIV[0]!, [...SETPRIV.slice(1), 'true']).status === 0
  return canTie ? [...SETPRIV, ...command] : command
}
