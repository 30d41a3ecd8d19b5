/** The base of all actions: the program that acts, and its open file. */
import { PAGE_BYTES } from './page-layout.js'
import type { Handle, Program } from './program.js'

export class ActionBase {
  constructor(
    protected readonly program: Program,
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

  protected count(name: string): void {
    this.program.init.coverage.add(name)
  }

  protected hold(ms: number): Promise<void> {
    return this.program.sleep(ms)
  }
}
