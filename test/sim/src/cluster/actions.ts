import type { HistoryEvent } from '#linearizability'
import { inspectClient } from '@quire/dsm-client/internal'
import { Violation } from '../violation.js'
import type { ActingProgram, Handle } from './action-base.js'
import type { Action } from './action-kinds.js'
import { hex } from './history.js'
import { PAGE_BYTES, SPOT_BYTES, SPOTS } from './page-layout.js'
import { PrivateActions } from './private-actions.js'

export async function act(action: Action, program: ActingProgram, handle: Handle): Promise<void> {
  return new OpenFileActions(program, handle)[action]()
}

type Actions = Record<Action, () => Promise<void>>

/** Performs the actions of programs on an open file. */
class OpenFileActions extends PrivateActions implements Actions {
  // ---- bytes

  write(): Promise<void> {
    const { random } = this.program.init
    const offset = this.page() * PAGE_BYTES + random.pick(SPOTS)
    return this.put('mapping', offset, random.pick([4, 8, SPOT_BYTES]))
  }

  writeAcross(): Promise<void> {
    return this.put('mapping', (this.page() + 1) * PAGE_BYTES - SPOT_BYTES, 2 * SPOT_BYTES)
  }

  writeFile(): Promise<void> {
    const { random } = this.program.init
    return this.put('file', this.page() * PAGE_BYTES + random.pick(SPOTS), SPOT_BYTES)
  }

  /** Over a page up to the end of the file, so that peers store it without bytes. */
  writeZeros(): Promise<void> {
    const offset = this.page() * PAGE_BYTES
    const length = Math.min(PAGE_BYTES, Math.max(SPOT_BYTES, this.size - offset))
    return this.putBytes('mapping', offset, new Uint8Array(length))
  }

  /** At the end of the file, or a little beyond it. */
  extend(): Promise<void> {
    const { random, settings } = this.program.init
    const offset = Math.ceil(this.size / 4) * 4 + random.pick([0, 0, 64, PAGE_BYTES])
    if (offset + SPOT_BYTES > settings.maxPages * PAGE_BYTES) return this.writeFile()
    return this.put('file', offset, SPOT_BYTES)
  }

  /** Over the border of two pages, of which the file may lack the second. */
  extendAcross(): Promise<void> {
    const first = Math.min(this.page(), this.program.init.settings.maxPages - 2)
    return this.put('file', (first + 1) * PAGE_BYTES - SPOT_BYTES, 2 * SPOT_BYTES)
  }

  read(): Promise<void> {
    const { random } = this.program.init
    return this.get(this.page() * PAGE_BYTES + random.pick(SPOTS), random.pick([4, 8, SPOT_BYTES]))
  }

  readAcross(): Promise<void> {
    return this.get((this.page() + 1) * PAGE_BYTES - SPOT_BYTES, 2 * SPOT_BYTES)
  }

  readPage(): Promise<void> {
    return this.get(this.page() * PAGE_BYTES, PAGE_BYTES)
  }

  /** Reads a little of every page at the same time, so that many pages travel. */
  async readEach(): Promise<void> {
    await Promise.all(this.each((offset) => this.handle.mapping.read(offset, 4)))
  }

  /** Reads page after page, so that the client reads ahead. */
  async scan(): Promise<void> {
    const pages = Math.floor(this.size / PAGE_BYTES)
    for (let page = 0; page < pages; page++) await this.get(page * PAGE_BYTES + SPOTS[1], 4)
  }

  async advise(): Promise<void> {
    const { random } = this.program.init
    const { mapping } = this.handle
    const advice = random.pick(['normal', 'sequential', 'random', 'willneed', 'dontneed'] as const)
    await mapping.advise(this.page() * PAGE_BYTES, PAGE_BYTES, advice, this.program.options())
  }

  async writeEach(): Promise<void> {
    await Promise.all(this.each((offset) => this.put('mapping', offset, 4)))
    await this.sync()
  }

  private each<T>(visit: (offset: number) => T): T[] {
    return Array.from({ length: Math.floor(this.size / PAGE_BYTES) }, (_, page) => visit(page * PAGE_BYTES + SPOTS[1]))
  }

  async readEnd(): Promise<void> {
    await this.handle.file.read(Math.max(0, this.size - SPOT_BYTES), 2 * SPOT_BYTES, this.program.options())
  }

  async tryRead(): Promise<void> {
    const { random } = this.program.init
    const found = this.readNow(this.page() * PAGE_BYTES + random.pick(SPOTS), new Uint8Array(SPOT_BYTES))
    this.count(found ? 'reads at once' : 'reads not at once')
  }

  async tryWrite(): Promise<void> {
    const { random, history, locks } = this.program.init
    if (!locks.mayWrite(this.fileId)) return
    const done = this.writeNow(this.page() * PAGE_BYTES + random.pick(SPOTS), history.nextValue(8))
    this.count(done ? 'writes at once' : 'writes not at once')
  }

  /** Uses a page so much that holding on to it pays. */
  async burst(): Promise<void> {
    const { random, history, locks } = this.program.init
    const offset = this.page() * PAGE_BYTES + SPOTS[0]
    await this.put('mapping', offset, 4)
    for (let i = random.int(2, 6); i > 0; i--) {
      if (locks.mayWrite(this.fileId)) this.writeNow(offset, history.nextValue(4))
      if (random.is(0.2)) await this.program.sleep(0.2)
    }
  }

  /** Writes while the page's earlier bytes are on their way, and flushes at once. */
  async rewrite(): Promise<void> {
    const page = this.page() * PAGE_BYTES
    await this.put('mapping', page + SPOTS[0], 4)
    await this.handle.file.addressSpace.writeMappingRange(page, PAGE_BYTES, this.program.options())
    await this.put('mapping', page + SPOTS[0], 4)
    await this.sync()
  }

  private put(how: 'mapping' | 'file', offset: number, length: number): Promise<void> {
    return this.putBytes(how, offset, this.program.init.history.nextValue(length))
  }

  private putBytes(how: 'mapping' | 'file', offset: number, bytes: Uint8Array): Promise<void> {
    const options = this.program.options()
    const facts = { value: hex(bytes), ...(how === 'mapping' && { grew: false }) }
    return this.writing('write', offset, bytes.length, facts, () =>
      how === 'mapping'
        ? this.handle.mapping.write(offset, bytes, options)
        : this.handle.file.write(offset, bytes, options)
    )
  }

  private async get(offset: number, length: number): Promise<void> {
    const { random } = this.program.init
    const options = this.program.options()
    if (random.is(0.6)) await this.handle.mapping.read(offset, length, options)
    else await this.handle.file.read(offset, length, options)
  }

  // ---- pins

  pin(): Promise<void> {
    const { random } = this.program.init
    return this.pinToWrite(this.page() * PAGE_BYTES + random.pick(SPOTS), SPOT_BYTES)
  }

  pinAcross(): Promise<void> {
    const { random, settings } = this.program.init
    const { share, pages: most } = settings.longPins
    const pages = random.is(share) ? (most > 1 ? random.int(1, most) : 1) : 0
    // A pin over many pages occasionally starts where it fits.
    const last = Math.max(0, Math.ceil(this.size / PAGE_BYTES) - 2 - pages)
    const first = most > 1 ? Math.min(this.page(), last) : this.page()
    return this.pinToWrite((first + 1) * PAGE_BYTES - SPOT_BYTES, 2 * SPOT_BYTES + pages * PAGE_BYTES)
  }

  private pinToWrite(offset: number, length: number): Promise<void> {
    const { locks, random, settings } = this.program.init
    return locks.pin(this.fileId, this.program.pause, () =>
      this.writePinned(offset, length, async () => {
        if (random.is(0.3)) await this.hold(random.exponential(settings.pinMs))
      })
    )
  }

  private async writePinned(offset: number, length: number, during: () => Promise<void>): Promise<void> {
    const { random, settings, log, history } = this.program.init
    const { mapping, session } = this.handle
    const pin = await mapping.pin(offset, length, 'write', this.program.options())
    let end = (): void => {}
    try {
      if (random.is(0.3)) await this.hold(random.exponential(settings.pinMs))
      // In one step: a flush may find half of what several steps write under a pin.
      const from = hex(pin.bytes)
      pin.bytes.set(history.nextValue(length))
      end = log.begin({ process: session, file: this.fileId, offset, length, op: 'exchange', from, to: hex(pin.bytes) })
      await during()
    } finally {
      pin.release()
      end()
    }
  }

  /** Holds one page and asks for another. Two clients may wait for each other, and one gives up. */
  pinTwo(): Promise<void> {
    const { random, locks } = this.program.init
    const { mapping } = this.handle
    const [first, second] = [this.page() * PAGE_BYTES + SPOTS[0], this.page() * PAGE_BYTES + SPOTS[1]]
    const write = async (): Promise<void> => {
      await this.hold(1)
      await this.writePinned(second, 4, () => Promise.resolve())
    }
    return locks.pin(this.fileId, this.program.pause, async () => {
      if (random.is(0.7)) return this.writePinned(first, 4, write)
      const pin = await mapping.pin(first, 4, 'read', this.program.options())
      try {
        await write()
      } finally {
        pin.release()
      }
    })
  }

  async pinToRead(): Promise<void> {
    const { random, settings, name } = this.program.init
    const pin = await this.handle.mapping.pin(this.page() * PAGE_BYTES, SPOT_BYTES, 'read', this.program.options())
    try {
      const before = hex(pin.bytes)
      if (random.is(0.5)) await this.hold(random.exponential(settings.pinMs))
      // Other programs of this client write to the same memory.
      if (this.isAlone && !pin.lost.aborted && hex(pin.bytes) !== before) {
        throw new Violation('pinned pages stay', `${name}: ${before} became ${hex(pin.bytes)}`)
      }
    } finally {
      pin.release()
    }
  }

  // ---- durability

  async sync(): Promise<void> {
    await this.handle.file.sync(this.program.options())
    this.checkFlushed(0, Infinity)
  }

  async msync(): Promise<void> {
    const page = this.page()
    const { maxPages } = this.program.init.settings
    const pages = this.program.init.random.int(1, maxPages - page)
    await this.handle.mapping.msync(page * PAGE_BYTES, pages * PAGE_BYTES, this.program.options())
    this.checkFlushed(page, page + pages)
  }

  /** Bytes that an owner wrote before a flush are committed, unless another client has written since. */
  private checkFlushed(first: number, end: number): void {
    const { client, invariants } = this.program.init
    const { isValid, pages } = inspectClient(client)
    // A client that slept past its lease may have lost its pages to others since they were flushed.
    if (!this.isAlone || !isValid) return
    for (const page of pages) {
      if (page.file !== this.handle.id || page.index < first || page.index >= end || page.access !== 'modified')
        continue
      const committed = invariants.committedBytes(page.file, page.index)
      if (Buffer.compare(page.frame!.bytes, committed) === 0) continue
      throw new Violation('msync means durable', `page ${page.file}:${page.index} is not committed after a flush`)
    }
  }

  // ---- sizes

  async truncate(): Promise<void> {
    const { random, settings } = this.program.init
    const pages = random.int(0, settings.maxPages)
    const size = Math.min(settings.maxPages * PAGE_BYTES, pages * PAGE_BYTES + random.pick([0, 0, 8, 68, 2052]))
    const options = this.program.options()
    await this.intended('truncate', size, 0, {}, () => this.handle.file.truncate(size, options))
  }

  punch(): Promise<void> {
    const { random, settings } = this.program.init
    const page = this.page()
    const length = random.int(1, Math.min(2, settings.maxPages - page)) * PAGE_BYTES
    const options = this.program.options()
    if (random.is(0.7)) {
      const offset = page * PAGE_BYTES
      return this.intended('punch', offset, length, {}, () => this.handle.file.punchHole(offset, length, options))
    }
    // Zeros are written over parts of pages.
    const [offset, bytes] = [page * PAGE_BYTES + SPOTS[2], random.pick([8, PAGE_BYTES])]
    return this.writing('write', offset, bytes, { value: '00'.repeat(bytes), grew: false }, () =>
      this.handle.file.punchHole(offset, bytes, options)
    )
  }

  async sizes(): Promise<void> {
    const { random, client } = this.program.init
    if (random.is(0.7)) await this.handle.file.stat(this.program.options())
    else await client.stat(this.handle.path, this.program.options())
  }

  // ---- names

  async reopen(): Promise<void> {
    await this.program.close(this.handle, this.program.options())
  }

  async unlink(): Promise<void> {
    const { random, client } = this.program.init
    if (random.is(0.5)) await this.program.close(this.handle, {})
    await client.unlink(this.handle.path, this.program.options())
  }

  async rename(): Promise<void> {
    const { random, client } = this.program.init
    const { path, isWhole } = this.handle
    const to = random.pick(this.program.paths.filter((each) => each.startsWith('/whole') === isWhole))
    await client.rename(path, to, this.program.options())
    await this.program.close(this.handle, {})
  }

  /** Shortens the existing file to nothing. */
  async openAnew(): Promise<void> {
    const { path } = this.handle
    await this.program.close(this.handle, {})
    await this.program.openAnew(path)
  }

  async list(): Promise<void> {
    const { client, listings, invariants, name } = this.program.init
    const call = invariants.time
    const listed: string[] = []
    for await (const { path } of client.list('/', this.program.options())) listed.push(path)
    listings.check(listed, call, name)
    this.count('listings')
  }

  // ---- the calls of the seed

  async unmapRange(): Promise<void> {
    const { random, invariants, unmaps } = this.program.init
    const [start, length] = this.range()
    const evenCows = random.is(0.3)
    const { addressSpace } = this.handle.file
    if (!evenCows) return addressSpace.unmapMappingRange(start, length)
    addressSpace.unmapMappingRange(start, length, { evenCows })
    const first = Math.floor(start / PAGE_BYTES)
    const end = length === 0 ? Infinity : Math.ceil((start + length) / PAGE_BYTES)
    unmaps.add(this.handle.id, first, end, invariants.time)
    this.handle.private?.checkNone(first, end)
    this.count('unmaps of private copies')
  }

  async writeRange(): Promise<void> {
    const [start, length] = this.range()
    await this.handle.file.addressSpace.writeMappingRange(start, length, this.program.options())
  }

  async evictRange(): Promise<void> {
    const [start, length] = this.range()
    await this.handle.file.addressSpace.evictMappingRange(start, length, this.program.options())
  }

  private range(): [number, number] {
    const { random } = this.program.init
    return random.is(0.3) ? [0, 0] : [this.page() * PAGE_BYTES, random.pick([1, PAGE_BYTES, 2 * PAGE_BYTES])]
  }

  private writing(
    op: 'write',
    offset: number,
    length: number,
    facts: Pick<HistoryEvent, 'value' | 'grew'>,
    action: () => Promise<void>
  ): Promise<void> {
    const { locks } = this.program.init
    return locks.write(this.fileId, this.program.pause, () => this.intended(op, offset, length, facts, action))
  }

  private async intended(
    op: 'write' | 'truncate' | 'punch',
    offset: number,
    length: number,
    facts: Pick<HistoryEvent, 'value' | 'grew'>,
    action: () => Promise<void>
  ): Promise<void> {
    const { session } = this.handle
    const end = this.program.init.log.begin({ process: session, file: this.fileId, offset, length, op, ...facts })
    try {
      await action()
    } finally {
      end()
    }
  }
}
