/** A client of a run: the process on its machine, and what that reports. */
import { writeFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Child } from '../machines/child.js'
import type { Machine } from '../machines/machine.js'
import type { ClientAsk, Order, Report } from './messages.js'

const MAIN = fileURLToPath(new URL('./main.js', import.meta.url))

export interface ClientInit {
  readonly machine: Machine
  readonly ask: ClientAsk
  readonly log: string
  readonly onReport: (report: Report) => void
}

export class Client {
  readonly machine: Machine
  readonly ask: ClientAsk
  private readonly child: Child
  private isKilled = false
  private readonly waiting = new Map<Report['type'], (report: Report) => void>()

  constructor({ machine, ask, log, onReport }: ClientInit) {
    this.machine = machine
    this.ask = ask
    // A client that is killed at once has made no files yet.
    for (const file of [ask.history, ask.notes]) writeFileSync(file, '')
    const command = [process.execPath, MAIN, JSON.stringify(ask)]
    this.child = new Child({
      machine,
      command,
      log,
      onLine: (line) => {
        const report = this.parse(line)
        if (report === undefined) return
        onReport(report)
        this.waiting.get(report.type)?.(report)
        this.waiting.delete(report.type)
      }
    })
  }

  get name(): string {
    return this.machine.name
  }

  get isUp(): boolean {
    return !this.child.hasEnded
  }

  /** How the process has ended. */
  get end(): string {
    return this.child.end
  }

  pause(): void {
    this.child.pause()
  }

  resume(): void {
    this.child.resume()
  }

  /** Ends the process without notice. */
  async kill(): Promise<void> {
    this.isKilled = true
    await this.child.finish('SIGKILL')
  }

  /** Ends the programs. What their notes say is durable then. */
  async stop(mayLastMs: number): Promise<void> {
    await this.order({ type: 'stop' }, 'stopped', mayLastMs)
  }

  /** Reads what is left when all programs have ended, by workload. */
  async readEnd(mayLastMs: number): Promise<Readonly<Record<string, unknown>>> {
    const { ends } = (await this.order({ type: 'end' }, 'ended', mayLastMs)) as Extract<Report, { type: 'ended' }>
    return ends
  }

  /** Closes the client, and with it the history. */
  async leave(mayLastMs: number): Promise<void> {
    this.resume()
    this.child.endInput()
    const timer = setTimeout(() => this.child.signal('SIGKILL'), mayLastMs)
    await this.child.ended()
    clearTimeout(timer)
  }

  private parse(line: string): Report | undefined {
    try {
      return JSON.parse(line) as Report
    } catch (error) {
      // The kill has cut it off.
      if (this.isKilled) return undefined
      throw error
    }
  }

  private async order(order: Order, answer: Report['type'], mayLastMs: number): Promise<Report> {
    const answered = new Promise<Report>((resolve) => this.waiting.set(answer, resolve))
    const isOver = new AbortController()
    const late = pause(mayLastMs, 'late' as const, { signal: isOver.signal }).catch(() => 'late' as const)
    this.child.write(JSON.stringify(order))
    const outcome = await Promise.race([answered, this.child.ended().then(() => 'ended' as const), late])
    isOver.abort()
    if (outcome === 'ended') throw new Error(`${this.name} has ended: ${this.end}`)
    if (outcome === 'late') throw new Error(`${this.name} has not answered ${order.type} after ${mayLastMs / 1_000} s`)
    return outcome
  }
}
