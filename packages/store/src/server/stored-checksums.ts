import { crc32c } from '@node-rs/crc32'
import {
  InvalidArgumentError,
  MAX_CHECKSUM_BYTES,
  PastEndError,
  type ClientMessageOf,
  type Clock,
  type CorruptionError,
  type QuireError
} from '@quire/protocol'
import { DamagedPageError } from '../state/damaged-page.js'
import type { SessionId, StateView } from '../state/view.js'
import type { WhenRepaired } from './bulk-order.js'

export interface StoredChecksumsInit {
  readonly view: StateView
  readonly clock: Pick<Clock, 'schedule'>
  readonly whenRepaired: WhenRepaired
  readonly guard: (input: () => void) => void
}

export type ChecksumRequest = ClientMessageOf<'checksum'>

interface Waiting {
  readonly request: ChecksumRequest
  readonly session: SessionId
  readonly done: (result: number | QuireError) => void
}

/**
 * Computes checksums of stored bytes, one in each turn of the event loop: many clients may ask at once, and a leader
 * that does nothing else for long loses its term.
 */
export class StoredChecksums {
  private readonly waiting: Waiting[] = []
  private cancel = (): void => {}
  private ended = false

  constructor(private readonly init: StoredChecksumsInit) {}

  /** Calls `done` with the checksum, later. A damaged page is repaired first. */
  compute(request: ChecksumRequest, session: SessionId, done: Waiting['done']): void {
    this.waiting.push({ request, session, done })
    if (this.waiting.length === 1) this.schedule()
  }

  end(): void {
    this.ended = true
    this.cancel()
  }

  private schedule(): void {
    this.cancel = this.init.clock.schedule(0, () => this.init.guard(() => this.next()))
  }

  private next(): void {
    const next = this.waiting.shift()
    if (this.ended || next === undefined) return
    if (this.waiting.length > 0) this.schedule()
    const { request, session, done } = next
    try {
      done(this.refuse(request, session) ?? this.checksum(request))
    } catch (error) {
      if (!(error instanceof DamagedPageError)) throw error
      this.awaitRepair(error, next)
    }
  }

  private awaitRepair({ file, page }: DamagedPageError, { request, session, done }: Waiting): void {
    this.init.whenRepaired(file, page, (lost: CorruptionError | undefined) => {
      if (this.ended) return
      if (lost === undefined) this.compute(request, session, done)
      else this.init.guard(() => done(lost))
    })
  }

  private refuse({ file, offset, length }: ChecksumRequest, session: SessionId): QuireError | undefined {
    const found = this.init.view.file(file)
    if (found?.sessions.has(session) !== true) {
      return new InvalidArgumentError('file', file, 'a file that the session has open')
    }
    if (length > MAX_CHECKSUM_BYTES) return new InvalidArgumentError('length', length, `at most ${MAX_CHECKSUM_BYTES}`)
    if (offset + length <= found.size) return undefined
    return new PastEndError(found.path, Math.max(offset, found.size), found.size)
  }

  /** The range is within the file. */
  private checksum({ file, offset, length, before }: ChecksumRequest): number {
    const { view } = this.init
    const { pageSize } = view.file(file)!
    const zeros = new Uint8Array(pageSize)
    let checksum = before
    for (let at = offset; at < offset + length;) {
      const page = Math.floor(at / pageSize)
      const start = page * pageSize
      const end = Math.min(start + pageSize, offset + length)
      const { bytes = zeros } = view.page(file, page)
      checksum = crc32c(bytes.subarray(at - start, end - start), checksum)
      at = end
    }
    return checksum
  }
}
