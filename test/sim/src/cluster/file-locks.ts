interface Lock {
  writers: number
  isPinned: boolean
}

type Pause = () => Promise<void>

/**
 * Locks files between one client's programs, which share its memory as threads would.
 *
 * The history records everything under a write pin as one step, so the client's other programs write nothing to the
 * file meanwhile.
 */
export class FileLocks {
  private readonly locks = new Map<string, Lock>()

  async write<T>(file: string, pause: Pause, action: () => Promise<T>): Promise<T> {
    const lock = this.lock(file)
    while (lock.isPinned) await pause()
    lock.writers++
    try {
      return await action()
    } finally {
      lock.writers--
    }
  }

  async pin<T>(file: string, pause: Pause, action: () => Promise<T>): Promise<T> {
    const lock = this.lock(file)
    while (lock.isPinned || lock.writers > 0) await pause()
    lock.isPinned = true
    try {
      return await action()
    } finally {
      lock.isPinned = false
    }
  }

  /** For actions that take no time. */
  mayWrite(file: string): boolean {
    return !this.lock(file).isPinned
  }

  private lock(file: string): Lock {
    let lock = this.locks.get(file)
    if (lock === undefined) this.locks.set(file, (lock = { writers: 0, isPinned: false }))
    return lock
  }
}
