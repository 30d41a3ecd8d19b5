/** Two sessions of a state machine, and requests about files without their boilerplate. */
import type { DirtyPageBytes } from '@quire/protocol'
import type { RequestCommand } from '../../src/state/index.js'
import { filled, Harness } from '../state-helpers.js'

/** A request without the fields that `Files` adds. */
type Without<C> = C extends RequestCommand ? Omit<C, 'session' | 'seq' | 'settled' | 'at'> : never

/** Two sessions, and requests without their boilerplate. */
export class Files extends Harness {
  readonly one = this.session('one')
  readonly two = this.session('two')
  private next = 1000

  ask(command: Without<RequestCommand>, session = this.one, seq = this.next++) {
    return this.apply({ ...command, session, seq, settled: 0, at: 70 })
  }

  truncate(file: number, size: number, tail?: DirtyPageBytes) {
    return this.ask({ type: 'truncate', file, size, tail })
  }

  /** Makes `session` the owner of the page and stores a page full of `value`. Returns the epoch. */
  store(file: number, page: number, value: number, session = this.one): number {
    const epoch = this.own(file, page, session)
    this.writeback(session, file, page, epoch, 1, filled(value))
    return epoch
  }

  bytes(file: number, page: number): Uint8Array {
    return this.machine.page(file, page).bytes ?? filled(0)
  }
}

/** A page full of `value`, as its owner sends it. */
export const tailOf = (file: number, page: number, epoch: number, value: number, seq = 1): DirtyPageBytes => ({
  file,
  page,
  epoch,
  seq,
  bytes: filled(value)
})

export const errorName = (applied: unknown) => (applied as { error?: Error }).error?.name
