/**
 * Random reads, writes, increments, flushes, holes and truncations on one small file, by all clients. The checker of
 * linearizability judges the history.
 */
import { Shared, wordsOf, type Program, type Workload, type WorkloadContext } from './workload.js'

export const REGISTER_PAGE_BYTES = 4096
export const REGISTER_PAGES = 6
const SIZE = REGISTER_PAGES * REGISTER_PAGE_BYTES
const WORDS = 4

export const registers: Workload<null, null> = {
  name: 'registers',
  pauseMs: 15,
  program: (context) => new Registers(context),
  end: () => Promise.resolve(null),
  judge: () => []
}

class Registers implements Program<null> {
  private readonly shared: Shared
  private next = 0

  constructor(private readonly context: WorkloadContext) {
    this.shared = new Shared(context, '/registers', SIZE, true)
  }

  async step(): Promise<void> {
    const { random } = this.context
    const [file, mapping] = [await this.shared.file(), await this.shared.mapping()]
    const page = random.int(0, REGISTER_PAGES - 1) * REGISTER_PAGE_BYTES
    const offset = page + 8 * random.int(0, WORDS - 1)
    const draw = random.next()
    if (draw < 0.4) await mapping.read(offset, 8)
    else if (draw < 0.45) await mapping.read(0, 2 * REGISTER_PAGE_BYTES)
    else if (draw < 0.49) await file.read(offset, 64)
    else if (draw < 0.51) mapping.tryRead(offset, new Uint8Array(8))
    else if (draw < 0.6) await mapping.msync()
    else if (draw < 0.8) await mapping.write(offset, this.unique())
    else if (draw < 0.9) await this.increment(offset)
    else if (draw < 0.94) await file.write(offset, this.unique())
    else if (draw < 0.96) mapping.tryWrite(offset, this.unique())
    else if (draw < 0.97) await file.punchHole(page, REGISTER_PAGE_BYTES)
    else if (draw < 0.985) await file.truncate(random.int(0, SIZE))
    else await file.truncate(SIZE)
  }

  forget(error: Error): void {
    this.shared.forget(error)
  }

  async facts(): Promise<null> {
    await (await this.shared.file()).sync()
    return null
  }

  /** Bytes that no other write has. */
  private unique(): Uint8Array {
    const bytes = new Uint8Array(8)
    wordsOf(bytes).setUint32(0, ++this.next, true)
    bytes[7] = this.context.index
    return bytes
  }

  private async increment(offset: number): Promise<void> {
    const mapping = await this.shared.mapping()
    using pinned = await mapping.pin(offset, 8, 'write')
    const word = wordsOf(pinned.bytes)
    word.setUint32(0, word.getUint32(0, true) + 1, true)
  }
}
