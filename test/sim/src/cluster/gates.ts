/**
 * Programs of one client share its memory, as threads would. What happens under a write pin is recorded as one step, so a client's other
 * programs write nothing to the file meanwhile.
 */
interface Gate {
  writers: number
  isPinned: boolean
}

type Pause = () => Promise<void>

export class FileGates {
  private readonly gates = new Map<string, Gate>()

  async write<T>(file: string, pause: Pause, action: () => Promise<T>): Promise<T> {
    const gate = this.gate(file)
    while (gate.isPinned) await pause()
    gate.writers++
    try {
      return await action()
    } finally {
      gate.writers--
    }
  }

  async pin<T>(file: string, pause: Pause, action: () => Promise<T>): Promise<T> {
    const gate = this.gate(file)
    while (gate.isPinned || gate.writers > 0) await pause()
    gate.isPinned = true
    try {
      return await action()
    } finally {
      gate.isPinned = false
    }
  }

  /** For what takes no time. */
  mayWrite(file: string): boolean {
    return !this.gate(file).isPinned
  }

  private gate(file: string): Gate {
    let gate = this.gates.get(file)
    if (gate === undefined) this.gates.set(file, (gate = { writers: 0, isPinned: false }))
    return gate
  }
}
