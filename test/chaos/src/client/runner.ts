/** Runs one program of a client, and counts what it does. */
import type { RandomSource } from '@quire/testing'
import { WrongError, type Program } from '../workloads/workload.js'

export interface RunnerInit {
  readonly pauseMs: number
  readonly program: Program
  readonly random: RandomSource
  /** How long a step may take while this process runs. Each of its calls has a limit of its own. */
  readonly maxStepMs: number
  readonly rejected: (error: Error) => void
  readonly wrong: (message: string) => void
}

export class Runner {
  private readonly latencies: number[] = []
  private isStopped = false
  private readonly running: Promise<void>
  /** How long the step under way has taken, in ticks of a process that was not stopped. */
  private stepMs = 0

  constructor(private readonly init: RunnerInit) {
    this.running = this.run()
  }

  /** Returns the milliseconds that each operation since the last call took. */
  take(): number[] {
    return this.latencies.splice(0)
  }

  /** Time has passed in which this process ran. */
  tick(ms: number): void {
    const { maxStepMs, wrong } = this.init
    const before = this.stepMs
    this.stepMs += ms
    if (before <= maxStepMs && this.stepMs > maxStepMs) wrong(`a step has not ended after ${maxStepMs / 1_000} s`)
  }

  /** Resolves when the step under way has ended. */
  async stop(): Promise<void> {
    this.isStopped = true
    await this.running
  }

  private async run(): Promise<void> {
    const { program, pauseMs, random, rejected, wrong } = this.init
    while (!this.isStopped) {
      const begin = performance.now()
      this.stepMs = 0
      try {
        const done = (await program.step()) ?? 1
        const latency = performance.now() - begin
        for (let i = 0; i < done; i++) this.latencies.push(latency)
      } catch (error) {
        if (error instanceof WrongError) wrong(error.message)
        else rejected(error as Error)
        program.forget(error as Error)
      }
      this.stepMs = 0
      await new Promise((resolve) => setTimeout(resolve, random.exponential(pauseMs)))
    }
  }
}
