/**
 * A process of a run. It ends with this process, however that ends: by a signal of the kernel where there is one, and
 * else if it reads its standard input.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { createInterface } from 'node:readline'
import type { Machine } from './machine.js'
import { tied } from './tied.js'

export interface ChildInit {
  readonly machine: Machine
  readonly command: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** Takes what the process says on standard error, behind what it has. */
  readonly log: string
  /** Called with each line of its standard output. */
  readonly onLine: (line: string) => void
}

export class Child {
  private readonly process: ChildProcess
  private readonly exit: Promise<unknown>
  private isPaused = false

  constructor({ machine, command, env = {}, log, onLine }: ChildInit) {
    const [program, ...args] = tied(machine.on(command))
    this.process = spawn(program!, args, { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, ...env } })
    this.exit = once(this.process, 'exit')
    this.process.stdin!.on('error', () => {})
    this.process.stderr!.pipe(createWriteStream(log, { flags: 'a' }))
    createInterface({ input: this.process.stdout! }).on('line', onLine)
  }

  get hasEnded(): boolean {
    return this.process.exitCode !== null || this.process.signalCode !== null
  }

  /** How the process has ended, in words. */
  get end(): string {
    const { exitCode, signalCode } = this.process
    return signalCode === null ? `status ${exitCode}` : signalCode
  }

  /** Resolves when the process has ended. */
  async ended(): Promise<void> {
    if (!this.hasEnded) await this.exit
  }

  write(line: string): void {
    this.process.stdin!.write(`${line}\n`)
  }

  endInput(): void {
    this.process.stdin!.end()
  }

  signal(signal: NodeJS.Signals): void {
    if (!this.hasEnded) this.process.kill(signal)
  }

  /** Stops the process in its tracks, until `resume`. */
  pause(): void {
    this.isPaused = true
    this.signal('SIGSTOP')
  }

  resume(): void {
    if (this.isPaused) this.signal('SIGCONT')
    this.isPaused = false
  }

  /** Sends the signal and waits for the end. */
  async finish(signal: NodeJS.Signals): Promise<void> {
    this.signal(signal)
    await this.ended()
  }
}
