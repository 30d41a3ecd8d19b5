/**
 * The line of a machine that is far away. A program (`native/far.c`) stands between the hub's end of the line and the
 * bridge, and carries each frame with a delay. So connections go on, and all that TCP knows of the line is true.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { command } from './command.js'
import { tied } from './tied.js'

export interface FarLineInit {
  readonly program: string
  /** The hub's end of the line, a port of the bridge. */
  readonly near: string
  readonly bridge: string
  /** Each frame takes this much longer, in either direction. */
  readonly delayMs: number
}

/** Names of devices have at most 15 characters. There is one far line at a time. */
const IN_PROGRAM = 'far'
const IN_BRIDGE = 'farport'

export class FarLine {
  private constructor(
    private readonly init: FarLineInit,
    private readonly carrier: ChildProcess
  ) {}

  static async begin(init: FarLineInit): Promise<FarLine> {
    const { program, near, bridge, delayMs } = init
    await command(['ip', 'link', 'add', IN_PROGRAM, 'type', 'veth', 'peer', 'name', IN_BRIDGE])
    // The hub is reached through its bridge only.
    await command(['ip', 'link', 'set', IN_PROGRAM, 'arp', 'off', 'up'])
    await command(['ip', 'link', 'set', near, 'nomaster'])
    const [tie, ...args] = tied([program, near, IN_PROGRAM, String(Math.round(delayMs))])
    const carrier = spawn(tie!, args, { stdio: ['pipe', 'pipe', 'inherit'] })
    const isReady = await Promise.race([
      once(carrier.stdout, 'data').then(() => true),
      once(carrier, 'exit').then(() => false)
    ])
    if (!isReady) throw new Error('the program of the far line has ended')
    await command(['ip', 'link', 'set', IN_BRIDGE, 'master', bridge, 'up'])
    return new FarLine(init, carrier)
  }

  /** Ends the delay. The frames that are on the way arrive at once. */
  async end(): Promise<void> {
    const { carrier } = this
    const { near, bridge } = this.init
    if (carrier.exitCode !== null || carrier.signalCode !== null) throw new Error('the program of the far line ended')
    const exit = once(carrier, 'exit')
    carrier.stdin!.end()
    await exit
    await command(['ip', 'link', 'delete', IN_PROGRAM])
    await command(['ip', 'link', 'set', near, 'master', bridge])
  }
}
