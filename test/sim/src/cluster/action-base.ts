import type { CallOptions, DsmFile, Mapping } from '@quire/dsm-client'
import type { DirectMapping } from '@quire/dsm-client/internal'
import { PAGE_BYTES } from './page-layout.js'
import type { PrivateUse } from './private-use.js'
import type { ProgramInit } from './program-types.js'

/** A file that a program has open. */
export interface Handle {
  readonly file: DsmFile
  readonly mapping: Mapping
  /** Reads and writes mapped pages without the page table. */
  readonly direct: DirectMapping | undefined
  readonly path: string
  readonly id: number
  /** The session that opened it. */
  readonly session: string
  readonly isWhole: boolean
  private: PrivateUse | undefined
  /** It can only be closed. */
  isSpent: boolean
}

/** The part of a program that its actions use. */
export interface ActingProgram {
  readonly init: ProgramInit
  /** All paths that programs open. */
  readonly paths: readonly string[]
  /** Returns options for one call. The signal in them, if any, aborts the call after a while. */
  options(): CallOptions
  /** Waits before the program looks again whether it may do something. */
  readonly pause: () => Promise<void>
  sleep(ms: number): Promise<void>
  /** Creates a file without a path. */
  create(isWhole: boolean): Promise<Handle>
  /** Truncates the file at `path` to nothing as it opens it. */
  openAnew(path: string): Promise<void>
  close(handle: Handle, options: CallOptions): Promise<void>
  /** Returns the program's private mapping of the file. */
  privately(handle: Handle): Promise<PrivateUse>
}

/** Gives actions their program with the open file on which they act. */
export class ActionBase {
  constructor(
    protected readonly program: ActingProgram,
    protected readonly handle: Handle
  ) {}

  protected get fileId(): string {
    return this.handle.file.id
  }

  protected get size(): number {
    return this.program.init.invariants.sizeOf(this.handle.id)
  }

  protected get isAlone(): boolean {
    return this.program.init.settings.programs === 1
  }

  /** A page that the file has according to the log; occasionally one that it lacks. */
  protected page(): number {
    const { random, settings } = this.program.init
    const pages = random.is(0.05) ? settings.maxPages : Math.ceil(this.size / PAGE_BYTES)
    return random.int(0, Math.max(1, pages) - 1)
  }

  /** As a client in a thread of its own: asks the page table only if the page is not mapped. */
  protected readNow(offset: number, target: Uint8Array): boolean {
    const { direct, mapping } = this.handle
    if (direct?.tryRead(offset, target) !== true) return mapping.tryRead(offset, target)
    this.count('reads without the page table')
    return true
  }

  protected writeNow(offset: number, bytes: Uint8Array): boolean {
    const { direct, mapping } = this.handle
    if (direct?.tryWrite(offset, bytes) !== true) return mapping.tryWrite(offset, bytes)
    this.count('writes without the page table')
    return true
  }

  protected count(name: string): void {
    this.program.init.coverage.add(name)
  }

  protected hold(ms: number): Promise<void> {
    return this.program.sleep(ms)
  }
}
