import type { RandomSource } from '@quire/testing'
import type { Scheduler } from '../scheduler.js'

interface CrashMomentsInit {
  readonly name: string
  readonly scheduler: Scheduler
  readonly random: RandomSource
  readonly diskLatencyMs: number
  /** Returns a function that says whether the present process still runs. */
  readonly whileAlive: () => () => boolean
}

/** Waits for moments in which a crash leaves a disk half-written. Each wait ends with the process. */
export class CrashMoments {
  private onWrite: (() => void) | undefined
  private onAdopting: (() => void) | undefined
  private onAdopted: (() => void) | undefined

  constructor(private readonly init: CrashMomentsInit) {}

  /** A process starts. */
  reset(): void {
    this.onWrite = undefined
    this.onAdopting = undefined
    this.onAdopted = undefined
  }

  /** A write to the log begins. */
  writing(): void {
    this.onWrite?.()
  }

  /** The rows of a snapshot are being adopted. */
  adopting(): void {
    this.onAdopting?.()
  }

  adopted(): void {
    this.onAdopted?.()
  }

  /** Crashes in the middle of the next write to the log: before the write is durable, or just after. */
  inWrite(crash: () => void): void {
    const isAlive = this.init.whileAlive()
    this.onWrite = () => {
      this.onWrite = undefined
      this.soon(1, isAlive, crash)
    }
  }

  /** Crashes during the next adoption of a snapshot's rows: before the rows are in use, or after. */
  inAdoption(crash: () => void): void {
    const isAlive = this.init.whileAlive()
    this.onAdopting = () => this.soon(3, isAlive, crash)
  }

  /** Crashes after the next adoption of a snapshot's rows, in the next write to the log, which lets it start anew. */
  afterAdoption(crash: () => void): void {
    this.onAdopted = () => this.inWrite(crash)
  }

  private soon(writes: number, isAlive: () => boolean, crash: () => void): void {
    const { name, scheduler, random, diskLatencyMs } = this.init
    scheduler.after(random.exponential(diskLatencyMs * writes), `${name} crashes`, () => {
      if (isAlive()) crash()
    })
  }
}
