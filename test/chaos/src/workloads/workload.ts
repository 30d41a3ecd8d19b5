/** What clients do during a run. */
import type { DsmClient, DsmFile, Mapping } from '@quire/dsm-client'
import type { RandomSource } from '@quire/testing'
import type { Begun } from '../client/epitaph.js'

export interface WorkloadContext {
  readonly client: DsmClient
  /** All paths begin with it. No other run uses it. */
  readonly folder: string
  /** 1, 2, …: the client that runs this program. */
  readonly index: number
  /** The first client is 1, and so is the one that takes its place. */
  readonly seat: number
  readonly random: RandomSource
  /** Names a file whose operations the checker judges, and the size that it was created with. */
  readonly record: (file: DsmFile, size: number) => void
  /** A change of a recorded file begins now. A program makes one after the other. Not needed under a pin. */
  readonly begins: (change: Omit<Begun, 'call'>) => void
  /** Keeps a note for the judge. It outlives the process. */
  readonly note: (note: unknown) => void
}

/** One client's program, which is carried out step by step. */
export interface Program {
  /**
   * Resolves with the number of calls that it has carried out: a pin is one, with all that happens under it, and a step
   * may find nothing to do. A rejection is no failure as such: `forget` follows, and the next step. Throws
   * {@link WrongError} for what must not be.
   */
  step(): Promise<number>
  /** The step before was rejected. Its files may be dead. */
  forget(error: Error): void
  /** Makes durable what has no flush yet. Called at the end, when all faults are over. */
  settle(): Promise<void>
}

export interface Workload<Facts = unknown, End = unknown, Note = unknown> {
  readonly name: string
  /** The pause after each operation, on average, in milliseconds. */
  readonly pauseMs: number
  program(context: WorkloadContext): Program
  /** Reads what is left when all programs have ended. One client does this. */
  end(context: Omit<WorkloadContext, 'note'>): Promise<End>
  /** What the notes of one client say. The client may have been killed behind any of them. Pure. */
  facts(notes: readonly Note[]): Facts
  /** Returns the problems of the end, one line each. Pure. */
  judge(facts: readonly Facts[], end: End): string[]
}

/** The program has seen what the guarantees exclude. */
export class WrongError extends Error {
  override readonly name = 'WrongError'
}

/** A shared file and its mapping, which are opened anew when they are needed and were lost. */
export class Shared {
  private opened: { readonly file: DsmFile; readonly mapping: Mapping } | undefined

  constructor(
    private readonly context: Pick<WorkloadContext, 'client' | 'folder' | 'record'>,
    /** In the folder of the run. */
    private readonly path: string,
    private readonly size: number,
    private readonly isRecorded = false
  ) {}

  async file(): Promise<DsmFile> {
    return (await this.open()).file
  }

  async mapping(): Promise<Mapping> {
    return (await this.open()).mapping
  }

  /** A call was rejected with this error. The file is dead if its session is. */
  forget(error: Error): void {
    if (error.name === 'SessionExpiredError' || error.name === 'ClosedError') this.opened = undefined
  }

  private async open(): Promise<{ readonly file: DsmFile; readonly mapping: Mapping }> {
    if (this.opened !== undefined) return this.opened
    const { client, folder, record } = this.context
    const file = await client.open(`${folder}${this.path}`, { create: true, size: this.size })
    if (this.isRecorded) record(file, this.size)
    const mapping = await file.mmap({ length: this.size })
    this.opened = { file, mapping }
    return this.opened
  }
}

export function wordsOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
