import { execFile, spawnSync } from 'node:child_process'
import { promisify } from 'node:util'

/** Runs a command to its end. Rejects with its complaint. */
export async function command(args: readonly string[]): Promise<string> {
  const [program, ...rest] = args
  try {
    return (await promisify(execFile)(program!, rest)).stdout
  } catch (error) {
    const { stderr } = error as { readonly stderr?: string }
    throw new Error(`${args.join(' ')}: ${stderr?.trim() || (error as Error).message}`, { cause: error })
  }
}

/** True if the shell finds the program. */
export function hasProgram(program: string): boolean {
  return spawnSync('sh', ['-c', `command -v ${program}`]).status === 0
}
