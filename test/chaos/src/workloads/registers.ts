/**
 * Random reads, writes, increments, flushes, holes and truncations on one small file, by all clients. The checker of
 * linearizability judges the history.
 */
import type { DsmFile, Mapping } from '@quire/dsm-client'
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
  facts: () => null,
  judge: () => []
}

class Registers implements Program {
  private readonly shared: Shared
  private next = 0

  constructor(private readonly context: WorkloadContext) {
    this.shared = new Shared(context, '/registers', SIZE, true)
  }

  async step(): Promise<number> {
    const { random } = this.context
    const [file, mapping] = [await this.shared.file(), await this.shared.mapping()]
    const page = random.int(0, REGISTER_PAGES - 1) * REGISTER_PAGE_BYTES
    const offset = page + 8 * random.int(0, WORDS - 1)
    const draw = random.next()
    if (draw < 0.4) await mapping.read(offset, 8)
    else if (draw < 0.45) await mapping.read(0, 2 * REGISTER_PAGE_BYTES)
    else if (draw < 0.49) await file.read(offset, 64)
    // Without the page, these two do nothing.
    else if (draw < 0.51) return mapping.tryRead(offset, new Uint8Array(8)) ? 1 : 0
    else if (draw < 0.6) await mapping.msync()
    else if (draw < 0.8) await this.write(file, mapping, offset)
    else if (draw < 0.9) await this.increment(offset)
    else if (draw < 0.94) await this.write(file, file, offset)
    else if (draw < 0.96) return mapping.tryWrite(offset, this.unique()) ? 1 : 0
    else if (draw < 0.97) await this.punch(file, page)
    else if (draw < 0.985) await this.truncate(file, random.int(0, SIZE))
    else await this.truncate(file, SIZE)
    return 1
  }

  forget(error: Error): void {
    this.shared.forget(error)
  }

  async settle(): Promise<void> {
    await (await this.shared.file()).sync()
  }

  /** Bytes that no other write has. */
  private unique(): Uint8Array {
    const bytes = new Uint8Array(8)
    wordsOf(bytes).setUint32(0, ++this.next, true)
    wordsOf(bytes).setUint16(6, this.context.index, true)
    return bytes
  }

  private async write(file: DsmFile, to: DsmFile | Mapping, offset: number): Promise<void> {
    const bytes = this.unique()
    const value = Buffer.from(bytes).toString('hex')
    const grew = to === file
    this.context.begins({ op: 'write', file: file.id, offset, length: bytes.length, value, grew })
    await to.write(offset, bytes)
  }

  private async punch(file: DsmFile, offset: number): Promise<void> {
    this.context.begins({ op: 'punch', file: file.id, offset, length: REGISTER_PAGE_BYTES })
    await file.punchHole(offset, REGISTER_PAGE_BYTES)
  }

  private async truncate(file: DsmFile, size: number): Promise<void> {
    this.context.begins({ op: 'truncate', file: file.id, offset: size, length: 0 })
    await file.truncate(size)
  }

  private async increment(offset: number): Promise<void> {
    const mapping = await this.shared.mapping()
    using pinned = await mapping.pin(offset, 8, 'write')
    const word = wordsOf(pinned.bytes)
    word.setUint32(0, word.getUint32(0, true) + 1, true)
  }
}
