import { createAddressSpace } from '../../src/index.js'
import type { AddressSpaceInit, DirtyPage, PageFault, VmOperations } from '../../src/local-types.js'

export const PAGE = 4096

/** Hooks over a buffer. A test can make them wait or fail. */
export class BufferOperations implements VmOperations {
  readonly stored: Uint8Array
  readonly calls: string[] = []
  /** While it is set, hooks wait for it. */
  hold: Promise<void> | undefined
  failure: Error | undefined
  /** `onNoPage` and `onWpPage` replace their hooks; `onWrite` runs before `writePages` stores. */
  onNoPage: ((fault: PageFault) => Promise<void>) | undefined
  onWpPage: ((fault: PageFault) => Promise<void> | void) | undefined
  onWrite: (() => Promise<void>) | undefined

  constructor(bytes: number) {
    this.stored = new Uint8Array(bytes)
  }

  async noPage(fault: PageFault): Promise<void> {
    this.calls.push(`noPage ${fault.index} ${fault.access}`)
    if (this.onNoPage !== undefined) return this.onNoPage(fault)
    await this.pass()
    for (const [i, frame] of fault.frames.entries()) {
      frame.set(this.stored.subarray((fault.index + i) * PAGE, (fault.index + i + 1) * PAGE))
    }
  }

  async wpPage(fault: PageFault): Promise<void> {
    this.calls.push(`wpPage ${fault.index}`)
    if (this.onWpPage !== undefined) return this.onWpPage(fault)
    await this.pass()
  }

  async writePages(pages: readonly DirtyPage[]): Promise<void> {
    this.calls.push(`write ${pages.map(({ index }) => index).join()}`)
    await this.onWrite?.()
    await this.pass()
    for (const { index, bytes } of pages) this.stored.set(bytes, index * PAGE)
  }

  takeCalls(): string[] {
    return this.calls.splice(0)
  }

  private async pass(): Promise<void> {
    await this.hold
    if (this.failure !== undefined) throw this.failure
  }
}

export function localSpace(pages = 8, init: Partial<AddressSpaceInit> = {}) {
  const ops = new BufferOperations(64 * PAGE)
  const space = createAddressSpace({ size: pages * PAGE, pageSize: PAGE, ops, ...init })
  return { ops, space }
}

/** A promise, and the function that resolves it. */
export function gate(): { readonly promise: Promise<void>; open: () => void } {
  let open = (): void => {}
  const promise = new Promise<void>((resolve) => (open = resolve))
  return { promise, open }
}

export const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values)

/** Resolves with 'waits' after `ms` milliseconds, for a race against a promise that should still wait. */
export const never = (ms = 20): Promise<string> => new Promise((resolve) => setTimeout(() => resolve('waits'), ms))

/** Resolves after all pending microtasks have run. */
export const turns = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
