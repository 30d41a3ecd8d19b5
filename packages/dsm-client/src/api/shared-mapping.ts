/** Shared mappings: every access uses the pages of the file. */
import type { Access } from '@quire/protocol'
import { hex } from '../history.js'
import { MappingBase, type MappingInit } from './mapping-base.js'
import { checkNothingLost, flushPages, readPages, tryReadPages, tryWritePages, writePages } from './page-io.js'
import { pinRange } from './pinned-range.js'
import type { PinnedRange } from '../types.js'

export function createMapping(init: MappingInit): MappingBase {
  return new SharedMapping(init)
}

/** Implements the accesses of a shared mapping. */
class SharedMapping extends MappingBase {
  override get isShared(): boolean {
    return true
  }

  protected readAt(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    const { host, id } = this.open
    const facts = () => ({ value: hex(target) })
    return host.recorder.record('read', id, offset, target.length, facts, () =>
      readPages(this.open, offset, target, signal)
    )
  }

  protected writeAt(offset: number, bytes: Uint8Array, written: Set<number>, signal?: AbortSignal): Promise<void> {
    return writePages(this.open, offset, bytes, written, signal)
  }

  protected override recordWrite(
    offset: number,
    bytes: Uint8Array,
    written: ReadonlySet<number>,
    action: () => Promise<void>
  ): Promise<void> {
    const { host, id } = this.open
    const facts = () => ({ value: hex(bytes), grew: false })
    const mayHaveHappened = () => written.size > 0
    return host.recorder.record('write', id, offset, bytes.length, facts, action, { mayHaveHappened, facts })
  }

  protected tryReadAt(offset: number, target: Uint8Array): boolean {
    return tryReadPages(this.open, offset, target)
  }

  protected tryWriteAt(offset: number, bytes: Uint8Array): boolean {
    return tryWritePages(this.open, offset, bytes)
  }

  protected pinAt(offset: number, length: number, access: Access, signal?: AbortSignal): Promise<PinnedRange> {
    return pinRange(this.open, offset, length, access, signal)
  }

  protected syncAt(offset: number, length: number, signal?: AbortSignal): Promise<void> {
    const { host, id } = this.open
    return host.recorder.record(
      'sync',
      id,
      offset,
      length,
      () => ({}),
      () => flushPages(this.open, offset, length, signal)
    )
  }

  protected async flush(): Promise<void> {
    checkNothingLost(this.open)
    if (this.open.host.ended === undefined && this.open.handles > 0) {
      await flushPages(this.open, this.offset, this.length)
    }
  }

  /** Does nothing: the pages belong to the file. */
  protected drop(): void {}
}
