/** Runs the commands of a user. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, writeSync } from 'node:fs'
import { HaltError } from '../halt.js'

const COMMAND_MS = 60_000

export class Shell {
  private commands = 0

  constructor(
    private readonly folder: string,
    /** Takes the commands, and what they print. */
    private readonly log: string
  ) {}

  /**
   * Runs a command line to its end. Processes that it leaves in the background go on, also after this one. Rejects with
   * a HaltError if the command fails. Commands may run at the same time: the log numbers them, and says how each ended.
   */
  async run(line: string): Promise<void> {
    const number = ++this.commands
    const log = openSync(this.log, 'a')
    const note = (text: string): number => writeSync(log, `${new Date().toISOString()} ${number} ${text}\n`)
    try {
      note(`$ ${line}`)
      const child = spawn('sh', ['-c', line], { cwd: this.folder, stdio: ['ignore', log, log], detached: true })
      const timer = setTimeout(() => process.kill(-child.pid!, 'SIGKILL'), COMMAND_MS)
      // Not 'close': processes in the background may keep the log open.
      const [status, signal] = (await once(child, 'exit')) as [number | null, string | null]
      clearTimeout(timer)
      note(`ended with ${status ?? signal}`)
      if (status !== 0) throw new HaltError(`the command ended with ${status ?? signal}, see ${this.log}: ${line}`)
    } finally {
      closeSync(log)
    }
  }
}
