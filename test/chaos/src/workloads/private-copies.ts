/**
 * Each client writes into private mappings of a file that one client keeps changing. A private copy stays as it was
 * written, and pages without writes follow the file: they never go back.
 */
import type { Mapping } from '@quire/dsm-client'
import { Shared, WrongError, wordsOf, type Program, type Workload, type WorkloadContext } from './workload.js'

const PAGES = 4
const PAGE_BYTES = 4096
const SIZE = PAGES * PAGE_BYTES

export const privateCopies: Workload<null, null> = {
  name: 'private',
  pauseMs: 15,
  program: (context) => new PrivateCopies(context),
  end: () => Promise.resolve(null),
  facts: () => null,
  judge: () => []
}

class PrivateCopies implements Program {
  private readonly shared: Shared
  private copy: Mapping | undefined
  /** The words of the copy that this program has written, by page. */
  private written = new Map<number, number>()
  /** The newest value that was seen of each page that follows the file. */
  private seen = Array.from({ length: PAGES }, () => 0)
  private next = 0

  constructor(private readonly context: WorkloadContext) {
    this.shared = new Shared(context, '/private', SIZE)
  }

  async step(): Promise<number> {
    const { random, seat } = this.context
    const page = random.int(0, PAGES - 1)
    if (seat === 1 && random.is(0.4)) {
      await this.advance(page)
      // The pin and the flush.
      return 2
    }
    if (this.copy === undefined || random.is(0.05)) await this.map()
    else if (random.is(0.3)) await this.write(this.copy, page)
    else await this.read(this.copy, page)
    return 1
  }

  forget(error: Error): void {
    this.shared.forget(error)
    // Its session may be gone. If not, a write without an outcome may have taken place.
    this.copy = undefined
  }

  settle(): Promise<void> {
    return Promise.resolve()
  }

  /** The file's pages count upward, and each step is flushed. */
  private async advance(page: number): Promise<void> {
    const mapping = await this.shared.mapping()
    {
      using pinned = await mapping.pin(page * PAGE_BYTES, 4, 'write')
      const word = wordsOf(pinned.bytes)
      word.setUint32(0, word.getUint32(0, true) + 1, true)
    }
    await mapping.msync(page * PAGE_BYTES, 4)
  }

  private async map(): Promise<void> {
    const file = await this.shared.file()
    await this.copy?.munmap()
    this.copy = undefined
    this.written = new Map()
    this.copy = await file.mmap({ length: SIZE, flags: 'private' })
  }

  private async write(copy: Mapping, page: number): Promise<void> {
    const value = 0x8000_0000 + ++this.next
    const bytes = new Uint8Array(4)
    wordsOf(bytes).setUint32(0, value, true)
    await copy.write(page * PAGE_BYTES, bytes)
    this.written.set(page, value)
  }

  private async read(copy: Mapping, page: number): Promise<void> {
    const value = wordsOf(await copy.read(page * PAGE_BYTES, 4)).getUint32(0, true)
    const own = this.written.get(page)
    if (own !== undefined) {
      if (value !== own) throw new WrongError(`page ${page} of a private mapping is ${value}, ${own} was written`)
      return
    }
    if (value < this.seen[page]!) throw new WrongError(`page ${page} went back from ${this.seen[page]} to ${value}`)
    this.seen[page] = value
  }
}
