import type { Host, StreamNetwork } from './network-types.js'
import { hopsOf, isSamePath, type Path } from './path.js'
import { StreamEnd } from './stream-end.js'

/** Joins the two ends of a simulated stream. */
export class Stream {
  readonly ends: readonly [StreamEnd, StreamEnd]
  readonly openedAt: number

  constructor(
    private readonly network: StreamNetwork,
    readonly protocol: string,
    dialer: Host,
    acceptor: Host,
    readonly relay: Host | undefined,
    /** Called when both ends are over. */
    private readonly onOver: () => void
  ) {
    this.openedAt = network.init.scheduler.now
    const init = { network, protocol, relay: relay?.process, onOver: () => this.ended() }
    const path = [dialer, relay, acceptor].flatMap((host) => host?.id ?? [])
    const a = new StreamEnd(init, dialer, path)
    const b = new StreamEnd(init, acceptor, path.toReversed())
    a.other = b
    b.other = a
    this.ends = [a, b]
    // The dialer does not have the stream yet, so frames of the acceptor wait.
    b.held = true
  }

  /** Whether the stream runs over a connection along this path, whichever end has opened it. */
  isOn(path: Path): boolean {
    return this.ends.some((end) => isSamePath(end.path, path))
  }

  /** Whether the stream uses the link between two nodes. */
  uses(a: string, b: string): boolean {
    return this.ends.some((end) => hopsOf(end.path).some(([from, to]) => from === a && to === b))
  }

  begin(): void {
    const [, acceptor] = this.ends
    acceptor.held = false
    acceptor.release()
  }

  unblocked(): void {
    for (const end of this.ends) end.release()
  }

  /** `end` hears nothing any more. It gives up after a while, unless the link is back by then. */
  givenUpLater(end: StreamEnd): void {
    const { random, scheduler } = this.network.init
    scheduler.after(random.between(800, 6000), `${end.id}>${end.remote} probe`, () => {
      const silent =
        !end.other.process.alive ||
        this.relay?.process.alive === false ||
        this.ends.some(({ path }) => this.network.isCut(path))
      if (silent) end.fail(new Error(`${end.remote} does not answer`))
    })
  }

  /** The process of `end` is gone, and its machine says so. */
  forgotten(end: StreamEnd): void {
    end.vanish()
  }

  break(): void {
    const { random } = this.network.init
    for (const end of this.ends) {
      end.lose()
      const delay = random.exponential(20)
      end.process.after('io', delay, `${end.id}>${end.remote} breaks`, () =>
        end.fail(new Error('the connection broke'))
      )
    }
  }

  ended(): void {
    if (this.ends.every((end) => end.isOver)) this.onOver()
  }
}
