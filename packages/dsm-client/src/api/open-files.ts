/** The files that are open in one session. */
import { ClosedError, assert, type LeaderMessage, type ReplyTo, type WireFileStat } from '@quire/protocol'
import type { OpenFile } from '../host.js'
import type { Reply, RequestBody } from '../session/request-queue.js'
import type { Session } from '../session/session.js'
import type { OpenOrder } from './open-order.js'

export type OpenBody = Extract<RequestBody, { type: 'open' | 'createUnnamed' }>

/** Keeps each file of a session open while at least one handle uses it. */
export class OpenFiles {
  private readonly files = new Map<number, OpenFile>()

  constructor(
    private readonly session: Session,
    private readonly order: OpenOrder
  ) {}

  all(): OpenFile[] {
    return [...this.files.values()]
  }

  /** Asks the leader to open or create a file. Call it within `OpenOrder.open`. */
  request(body: OpenBody, signal: AbortSignal | undefined): Promise<ReplyTo<OpenBody['type']>> {
    return this.session.request(body, {
      signal,
      // An order to discard may follow the answer at once, and must find the file.
      onAnswer: ({ stat }) => this.opened(stat),
      onLate: (late) => this.openedLate(late)
    })
  }

  /** Returns the file that the answer has opened, with a handle for the caller. */
  take({ stat }: ReplyTo<OpenBody['type']>): OpenFile {
    const { session } = this
    // The session may have ended since the answer.
    if (session.ended !== undefined) throw session.ended
    const open = this.files.get(stat.id)
    assert(open !== undefined, `file ${stat.id} was opened and is not there`)
    return open
  }

  /** Removes a handle. */
  async forget(file: OpenFile): Promise<void> {
    if (file.handles === 0) return
    file.handles--
    if (file.handles === 0) await this.release(file)
  }

  /** Gives up a file without handles, whose pages are flushed. */
  async release(file: OpenFile): Promise<void> {
    const { session } = this
    let answer: Promise<void> | undefined
    await this.order.leave(() => {
      // Another call may have opened the file again meanwhile.
      if (file.handles > 0 || session.ended !== undefined) return
      this.files.delete(file.id)
      session.pages.coherence.removeFile(file.id, new ClosedError(file.path))
      answer = this.unmap(file.id)
    })
    await answer
  }

  private opened(stat: WireFileStat): void {
    let file = this.files.get(stat.id)
    if (file === undefined) {
      const { pages } = this.session
      const { id, pageSize, unit, size } = stat
      const isUnnamed = stat.path === ''
      const path = isUnnamed ? `unnamed file ${id}` : stat.path
      const space = pages.coherence.addFile({ file: id, path, pageSize, unit, size })
      const refreshSize = async (signal?: AbortSignal): Promise<number> =>
        (await pages.sizes.statFile(space, signal)).size
      file = { host: pages, space, id, path, isUnnamed, pageSize, handles: 0, closing: 0, refreshSize }
      this.files.set(id, file)
    }
    // The stat of a file that is open already may be old: answers to later questions decide about its size.
    file.handles++
  }

  /** The caller no longer waits for this open, but the cluster counts the file as open in this session. */
  private openedLate(reply: LeaderMessage): void {
    if (reply.type !== 'opened') return
    void this.order.leave(() => {
      if (this.files.has(reply.stat.id) || this.session.ended !== undefined) return
      // A failure leaves the file to the end of the session, which closes it as well.
      this.unmap(reply.stat.id).catch(() => {})
    })
  }

  /** Tells the cluster that the file is closed, even if the caller stops waiting. */
  private async unmap(file: number): Promise<void> {
    const { session } = this
    const closed = (answer: Reply): void => {
      if (answer.type !== 'done') return
      session.pages.coherence.fileClosed(file)
    }
    await session.request({ type: 'close', file }, { onAnswer: closed, onLate: closed })
  }
}
