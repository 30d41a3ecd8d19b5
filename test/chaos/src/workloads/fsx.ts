/**
 * Each client carries out random operations on a file of its own, and compares what it reads with a model in memory, as
 * the file system exerciser `fsx` does. When a session is lost, every byte must have a value that it has had since it
 * was durable. After a call without an outcome, only the bytes of that call may have one of two values.
 */
import type { DsmFile } from '@quire/dsm-client'
import { FsxModel } from './fsx-model.js'
import { Shared, WrongError, type Program, type Workload, type WorkloadContext } from './workload.js'

const MAX_SIZE = 96 * 1024
const MAX_LENGTH = 12 * 1024

export const fsx: Workload<null, null> = {
  name: 'fsx',
  pauseMs: 20,
  program: (context) => new Fsx(context),
  end: () => Promise.resolve(null),
  facts: () => null,
  judge: () => []
}

class Fsx implements Program {
  private readonly shared: Shared
  private readonly model = new FsxModel(MAX_SIZE)
  /** The session was lost, and with it what had no flush. */
  private isLost = false

  constructor(private readonly context: WorkloadContext) {
    this.shared = new Shared(context, `/fsx/${context.index}`, MAX_SIZE)
    this.model.truncate(MAX_SIZE)
  }

  async step(): Promise<number> {
    const file = await this.shared.file()
    if (this.isLost || this.model.isUncertain) {
      await this.adopt(file)
      return 1
    }
    const { random } = this.context
    const { model } = this
    const offset = random.int(0, MAX_SIZE - 1)
    const length = Math.min(random.int(1, MAX_LENGTH), MAX_SIZE - offset)
    const draw = random.next()
    if (draw < 0.35) {
      const read = await file.read(offset, length)
      this.compare(read, offset, length)
    } else if (draw < 0.6) {
      const bytes = this.bytes(length)
      model.mayWrite(offset, bytes)
      await file.write(offset, bytes)
      model.write(offset, bytes)
    } else if (draw < 0.72) {
      if (offset + length > model.size) return 0
      const mapping = await this.shared.mapping()
      const bytes = this.bytes(length)
      model.mayWrite(offset, bytes)
      await mapping.write(offset, bytes)
      model.write(offset, bytes)
    } else if (draw < 0.8) {
      if (offset + length > model.size) return 0
      this.compare(await (await this.shared.mapping()).read(offset, length), offset, length)
    } else if (draw < 0.86) {
      const size = random.int(0, MAX_SIZE)
      model.mayTruncate(size)
      await file.truncate(size)
      model.truncate(size)
    } else if (draw < 0.92) {
      if (offset + length > model.size) return 0
      model.mayWrite(offset, new Uint8Array(length))
      await file.punchHole(offset, length)
      model.punch(offset, length)
    } else {
      await file.sync()
      model.flushed()
    }
    return 1
  }

  forget(error: Error): void {
    this.shared.forget(error)
    if (error.name === 'SessionExpiredError') this.isLost = true
  }

  async settle(): Promise<void> {
    const file = await this.shared.file()
    if (this.isLost || this.model.isUncertain) await this.adopt(file)
    const { size } = await file.stat()
    this.compare(await file.read(0, MAX_SIZE), 0, MAX_SIZE)
    if (size !== this.model.size) throw new WrongError(`the file has ${size} bytes, the model ${this.model.size}`)
  }

  private compare(read: Uint8Array, offset: number, length: number): void {
    const problem = this.model.whyNot(read, offset, length)
    if (problem !== undefined) throw new WrongError(`file ${this.context.index}: ${problem}`)
  }

  /** Takes what the file has for the truth, as far as a loss, or a call without an outcome, explains it. */
  private async adopt(file: DsmFile): Promise<void> {
    const { size } = await file.stat()
    const problem = this.model.adopt(await file.read(0, MAX_SIZE), size, this.isLost)
    if (problem !== undefined) throw new WrongError(`file ${this.context.index}: ${problem}`)
    this.isLost = false
  }

  private bytes(length: number): Uint8Array {
    const bytes = new Uint8Array(length)
    const first = this.context.random.int(1, 255)
    for (let i = 0; i < length; i++) bytes[i] = ((first + i * 7) % 255) + 1
    return bytes
  }
}
