import { createRandomSource, type RandomSource } from '@quire/testing'
import { Coverage } from './coverage.js'
import { isSelected, NOISE, type InjectedEvent, type Selection } from './schedule.js'
import { Scheduler } from './scheduler.js'
import { Violation } from './violation.js'

export interface SeedInit extends Selection {
  readonly seed: number
  /** Computes the hash of the run, which takes time. */
  readonly isHashed?: boolean
  /** Called with each line of the trace. */
  readonly trace?: (line: string) => void
}

export interface SeedResult<K extends string> {
  readonly seed: number
  readonly events: number
  readonly virtualMs: number
  /** The hash of everything observable, equal for runs that behave alike. Undefined unless `isHashed`. */
  readonly hash: string | undefined
  readonly coverage: Coverage
  readonly failure: Error | undefined
  /** The faults and operations that occurred before the end, with the noise. */
  readonly injected: readonly { readonly number: number; readonly kind: K | 'noise' }[]
}

/**
 * Runs one seed of a simulation, with faults at their times, up to its first failure.
 *
 * A subclass says what is simulated.
 */
export abstract class SeedRun<K extends string> {
  readonly scheduler: Scheduler
  readonly coverage = new Coverage()
  protected readonly random: RandomSource
  protected failure: Error | undefined
  private readonly injected: InjectedEvent<K>[] = []

  constructor(protected readonly init: SeedInit) {
    this.scheduler = new Scheduler(init.isHashed === true)
    this.random = createRandomSource(init.seed)
  }

  /** Never rejects: the result holds the failure. */
  async run(): Promise<SeedResult<K>> {
    const onUnhandled = (error: unknown): void =>
      this.fail(new Error(`unhandled rejection: ${String(error)}`, { cause: error }))
    process.on('unhandledRejection', onUnhandled)
    try {
      await this.play()
    } catch (error) {
      this.fail(error as Error)
    } finally {
      process.off('unhandledRejection', onUnhandled)
    }
    const { scheduler, coverage, failure, injected, init } = this
    coverage.add('events', scheduler.events)
    if (failure !== undefined) {
      scheduler.hash.text(failure.name)
      this.note(`*** ${failure.message}`)
    }
    return {
      seed: init.seed,
      events: scheduler.events,
      virtualMs: scheduler.now,
      hash: init.isHashed === true ? scheduler.hash.toString() : undefined,
      coverage,
      failure,
      injected: isSelected(init, NOISE) ? [{ number: NOISE, kind: 'noise' }, ...injected] : injected
    }
  }

  protected abstract play(): Promise<void>

  /** Writes a line of the trace, if there is one. */
  protected abstract note(line: string): void

  /** Lets each event occur at its time after `startMs`, with a random source of its own. */
  protected plan(
    schedule: readonly InjectedEvent<K>[],
    startMs: number,
    inject: (event: InjectedEvent<K>, random: RandomSource) => void
  ): void {
    for (const event of schedule) {
      const { number, atMs, kind } = event
      this.scheduler.at(startMs + atMs, `${number}: ${kind}`, () => {
        this.injected.push(event)
        // Names of forks decide what a seed draws: another name here would change every seed.
        inject(event, this.random.fork(`happening ${number}`))
      })
    }
  }

  async runFor(ms: number): Promise<void> {
    await this.scheduler.run(this.scheduler.now + ms, () => this.failure !== undefined)
    if (this.failure !== undefined) throw this.failure
  }

  /** Runs until `done()`. Resolves to a description of the wait if that takes longer than `ms`. */
  protected async reach(ms: number, done: () => boolean): Promise<string | undefined> {
    const from = this.scheduler.now
    const reached = await this.scheduler.run(from + ms, () => this.failure !== undefined || done())
    if (this.failure !== undefined) throw this.failure
    return reached ? undefined : `not within ${ms} ms from ${from.toFixed(1)}`
  }

  /** Fails a run in which nodes keep each other busy for nothing. */
  protected checkEvents(max: number): void {
    if (this.scheduler.events > max) throw new Violation('liveness', `${max} events and no end`)
  }

  protected guard(run: () => void): void {
    try {
      run()
    } catch (error) {
      this.fail(error as Error)
    }
  }

  protected fail(error: Error): void {
    this.failure ??= error
  }
}
