/** A peer of a user's cluster. Commands of the user reach its process; the run sees only whether it answers. */
import type { Member } from '@quire/protocol'
import type { Killable, Stoppable } from './peer.js'
import type { GivenPeerInit } from './given-file.js'
import type { Operator } from './operator.js'
import type { Shell } from './shell.js'
import { until } from './until.js'

const START_MS = 60_000
const END_MS = 20_000

export class GivenPeer implements Killable, Stoppable {
  readonly name: string
  readonly member: Member
  private isDown = false
  private isPaused = false
  private isOver = false
  private last = Promise.resolve()

  constructor(
    private readonly init: GivenPeerInit,
    private readonly shell: Shell,
    private readonly operator: Operator
  ) {
    this.name = init.name
    this.member = init.member
  }

  get canBeKilled(): boolean {
    return this.init.kill !== undefined
  }

  get canBeStopped(): boolean {
    return this.init.pause !== undefined
  }

  kill(): Promise<void> {
    return this.next(async () => {
      if (this.isOver) throw new Error('the run is over')
      this.isDown = true
      await this.shell.run(this.init.kill!)
      // A command without effect would make a run that proves nothing. A new process would meet the old one.
      const isGone = async (): Promise<boolean> => !(await this.answers())
      await until(isGone, () => `${this.name} to be gone; it still answers after: ${this.init.kill}`, END_MS)
    })
  }

  start(): Promise<void> {
    return this.next(() => this.startIfDown())
  }

  pause(): Promise<void> {
    return this.next(async () => {
      if (this.isOver) throw new Error('the run is over')
      this.isPaused = true
      await this.shell.run(this.init.pause!)
    })
  }

  resume(): Promise<void> {
    return this.next(() => this.resumeIfPaused())
  }

  /** Ends what the run has done to the process. */
  heal(): Promise<void> {
    return this.next(async () => {
      await this.resumeIfPaused()
      await this.startIfDown()
    })
  }

  /** The run does nothing more to the process, and ends what it has done. */
  end(): Promise<void> {
    this.isOver = true
    return this.heal()
  }

  /** Once: after an interruption, a fault may start a peer that is healed already. */
  private async startIfDown(): Promise<void> {
    if (!this.isDown) return
    await this.shell.run(this.init.start!)
    await until(
      () => this.answers(),
      () => `${this.name} to answer after: ${this.init.start}`,
      START_MS
    )
    this.isDown = false
  }

  private async resumeIfPaused(): Promise<void> {
    if (!this.isPaused) return
    await this.shell.run(this.init.resume!)
    this.isPaused = false
  }

  /** One after the other: an interrupted run heals behind the command that is under way. */
  private next(action: () => Promise<void>): Promise<void> {
    this.last = this.last.catch(() => {}).then(action)
    return this.last
  }

  private async answers(): Promise<boolean> {
    return (await this.operator.status(this)) !== undefined
  }
}
