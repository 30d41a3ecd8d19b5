/** Runs one program of a client, and counts what it does. */
import type { RandomSource } from '@quire/testing'
import { WrongError, type Program } from '../workloads/workload.js'
import type { Done } from './messages.js'

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
  private endNs = 0
  private isStopped = false
  private readonly running: Promise<void>
  /** How long the step under way has taken, in ticks of a process that was not stopped. */
  private stepMs = 0

  constructor(private readonly init: RunnerInit) {
    this.running = this.run()
  }

  /** Returns what was done since the last call. */
  take(): Done {
    const latencies = this.latencies.splice(0)
    return latencies.length === 0 ? { latencies } : { latencies, endNs: this.endNs }
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
        const calls = await program.step()
        const latency = performance.now() - begin
        for (let i = 0; i < calls; i++) this.latencies.push(latency)
        if (calls > 0) this.endNs = Number(process.hrtime.bigint())
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
