import type { DirectAccess } from '../core/direct-access.js'
import { hex, type Recorder } from '../history.js'

export interface DirectMappingInit {
  readonly direct: DirectAccess
  readonly recorder: Recorder
  /** Number of the address space. */
  readonly space: number
  readonly file: number
  readonly pageSize: number
  /** Where the mapping begins in the file. */
  readonly offset: number
  /** Milliseconds of the machine's clock. */
  readonly now: () => number
}

/** What a program does by itself with the mapped pages of a shared mapping. Offsets count from the mapping's start. */
export class DirectMapping {
  constructor(private readonly init: DirectMappingInit) {}

  /** See `DirectAccess.tryRead`. */
  tryRead(offset: number, target: Uint8Array): boolean {
    const { direct, recorder, space, file, pageSize, now } = this.init
    const start = this.init.offset + offset
    const call = recorder.isOn ? now() : 0
    if (!direct.tryRead(space, pageSize, start, target)) return false
    if (recorder.isOn) recorder.note('read', file, start, target.length, { value: hex(target) }, { call })
    return true
  }

  /** See `DirectAccess.tryWrite`. */
  tryWrite(offset: number, bytes: Uint8Array): boolean {
    const { direct, recorder, space, file, pageSize, now } = this.init
    const start = this.init.offset + offset
    const call = recorder.isOn ? now() : 0
    if (!direct.tryWrite(space, pageSize, start, bytes)) return false
    if (recorder.isOn) recorder.note('write', file, start, bytes.length, { value: hex(bytes), grew: false }, { call })
    return true
  }
}
