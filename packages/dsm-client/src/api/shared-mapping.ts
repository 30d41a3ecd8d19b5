/** Shared mappings: every access uses the pages of the file. */
import type { Access } from '@quire/protocol'
import { hex } from '../history.js'
import { MappingBase, type MappingInit } from './mapping-base.js'
import { checkNothingLost, eachPart, flushPages, readPages, writePages } from './page-io.js'
import { pinRange } from './pinned-range.js'
import type { PinnedRange } from '../types.js'

export function createMapping(init: MappingInit): MappingBase {
  return new SharedMapping(init)
}

/** Implements the accesses of a shared mapping. */
class SharedMapping extends MappingBase {
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
    const { host, id, pageSize } = this.open
    const call = host.now()
    if (!this.allows(offset, target.length, 'read')) return false
    eachPart(pageSize, offset, target.length, (index, from, to, at) =>
      target.set(host.table.touch(id, index, 'read').subarray(from, to), at)
    )
    // After the copy, because the process may have been stopped in between.
    if (!host.isLeaseValid()) return false
    if (host.recorder.isOn) host.recorder.note('read', id, offset, target.length, { value: hex(target) }, { call })
    return true
  }

  protected tryWriteAt(offset: number, bytes: Uint8Array): boolean {
    const { host, id, pageSize } = this.open
    const call = host.now()
    if (!this.allows(offset, bytes.length, 'write')) return false
    eachPart(pageSize, offset, bytes.length, (index, from, to, at) =>
      host.table.touch(id, index, 'write').set(bytes.subarray(at, at + to - from), from)
    )
    host.table.writeBackEarly()
    if (!host.recorder.isOn) return true
    host.recorder.note('write', id, offset, bytes.length, { value: hex(bytes), grew: false }, { call })
    return true
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

  private allows(offset: number, length: number, access: Access): boolean {
    const { host, id, pageSize } = this.open
    if (length === 0) return true
    return host.table.allows(id, Math.floor(offset / pageSize), Math.floor((offset + length - 1) / pageSize), access)
  }
}
