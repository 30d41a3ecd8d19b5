/** Where a process of a run lives: a machine with an address of its own. */

export interface Machine {
  readonly name: string
  /** An IPv4 address. Machines on loopback share one. */
  readonly address: string
  /** The command line that runs `command` on this machine. The process keeps its id. */
  on(command: readonly string[]): readonly string[]
}

/** The machines of a run, and the lines between them. */
export interface Machines extends AsyncDisposable {
  add(name: string): Promise<Machine>
  /** Undefined where this process may not make networks. */
  readonly lines: Lines | undefined
}

/** What a run can do to the lines. Packets are dropped where they arrive, so each direction is a line of its own. */
export interface Lines {
  /** Drops all packets from one machine to the other. */
  cut(from: Machine, to: Machine): Promise<void>
  /** Limits what a machine sends. */
  thin(machine: Machine, bitsPerSecond: number): Promise<void>
  /** Whatever a machine sends, or gets, takes this much longer. */
  lengthen(machine: Machine, delayMs: number): Promise<void>
  /** All lines are whole again, and as fast and short as before. */
  mend(): Promise<void>
}
