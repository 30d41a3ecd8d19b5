/** A random program on one shared file, in a process of its own, which records its operations. */
import { createWriteStream } from 'node:fs'
import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { createDsmClient, QuireError, type DsmClient, type DsmFile, type Mapping } from '@quire/dsm-client'

export interface ProgramAsk {
  readonly peers: readonly string[]
  readonly path: string
  readonly pages: number
  readonly seconds: number
  /** The file of the history. */
  readonly history: string
  /** 1, 2, …, so that no two clients write the same bytes. */
  readonly client: number
  /** Mean milliseconds between operations. */
  readonly pauseMs: number
  /** Each write is flushed before the next operation. */
  readonly isDurable: boolean
}

export interface ProgramAnswer {
  readonly operations: number
  /** Operations on bytes that another client has cut off. */
  readonly pastEnd: number
  /** Other calls that were rejected: counts by the error's name. */
  readonly failed: Readonly<Record<string, number>>
}

export const PROGRAM_PAGE_BYTES = 4096
const WORDS = 4

export async function runProgram(ask: ProgramAsk): Promise<ProgramAnswer> {
  const out = createWriteStream(ask.history)
  const client = await createDsmClient({
    peers: ask.peers,
    history: (event) => out.write(`${JSON.stringify(event)}\n`)
  })
  const program = new Program(client, ask)
  try {
    return await program.run()
  } finally {
    await client.close()
    out.end()
    await once(out, 'finish')
  }
}

/** Draws one operation on the shared file after the other until its time is over. */
class Program {
  private next = 0
  private file: DsmFile | undefined
  private mapping: Mapping | undefined

  constructor(
    private readonly client: DsmClient,
    private readonly ask: ProgramAsk
  ) {}

  async run(): Promise<ProgramAnswer> {
    const end = performance.now() + this.ask.seconds * 1000
    const failed: Record<string, number> = {}
    let operations = 0
    let pastEnd = 0
    while (performance.now() < end) {
      operations++
      try {
        const hasWritten = await this.step()
        if (hasWritten && this.ask.isDurable) await this.mapping!.msync()
      } catch (error) {
        // The program goes on. The history has the call that failed.
        if (!(error instanceof QuireError)) throw error
        if (error.name === 'PastEndError') pastEnd++
        else failed[error.name] = (failed[error.name] ?? 0) + 1
        if (error.name === 'SessionExpiredError' || error.name === 'ClosedError') this.mapping = undefined
      }
      await pause(Math.random() * 2 * this.ask.pauseMs)
    }
    await this.file?.sync()
    return { operations, pastEnd, failed }
  }

  /** Returns whether it has written. */
  private async step(): Promise<boolean> {
    const { pages } = this.ask
    const size = pages * PROGRAM_PAGE_BYTES
    if (this.mapping === undefined) {
      this.file = await this.client.open(this.ask.path, { create: true, size })
      this.mapping = await this.file.mmap({ length: size })
    }
    const file = this.file!
    const mapping = this.mapping
    const offset = Math.floor(Math.random() * pages) * PROGRAM_PAGE_BYTES + 8 * Math.floor(Math.random() * WORDS)
    const draw = Math.random()
    if (draw < 0.4) await mapping.read(offset, 8)
    else if (draw < 0.45) await mapping.read(0, Math.min(2 * PROGRAM_PAGE_BYTES, size))
    else if (draw < 0.49) await file.read(offset, 64)
    else if (draw < 0.51) mapping.tryRead(offset, new Uint8Array(8))
    else if (draw < 0.55) await mapping.msync()
    else {
      if (draw < 0.8) await mapping.write(offset, this.unique())
      else if (draw < 0.9) await this.increment(mapping, offset)
      else if (draw < 0.94) await file.write(offset, this.unique())
      else if (draw < 0.96) mapping.tryWrite(offset, this.unique())
      else if (draw < 0.97) await file.punchHole(offset, PROGRAM_PAGE_BYTES)
      else if (draw < 0.985) await file.truncate(Math.floor(Math.random() * size))
      else await file.truncate(size)
      return true
    }
    return false
  }

  /** Returns bytes that no other write uses. */
  private unique(): Uint8Array {
    const bytes = new Uint8Array(8)
    new DataView(bytes.buffer).setUint32(0, ++this.next, true)
    bytes[7] = this.ask.client
    return bytes
  }

  private async increment(mapping: Mapping, offset: number): Promise<void> {
    using pinned = await mapping.pin(offset, 8, 'write')
    const word = new DataView(pinned.bytes.buffer, pinned.bytes.byteOffset, 8)
    word.setUint32(0, word.getUint32(0, true) + 1, true)
  }
}
