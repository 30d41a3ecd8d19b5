import { inspectClient } from '@quire/dsm-client/internal'
import type { DsmClient } from '@quire/dsm-client'
import type { Applied, StateView } from '@quire/store/internal'
import type { Coverage } from '../coverage.js'
import { Violation } from '../violation.js'
import type { PageInvariants } from './page-invariants.js'

/**
 * Checks the guarantees for files without a path from outside, at every entry that concerns one.
 *
 * Only its creator maps such a file, the file ends with that session, and once it has a name, it holds everything that
 * its creator had written before asking for the name.
 */
export class UnnamedFiles {
  /** The unnamed files, and the sessions that created them. */
  private readonly creators = new Map<number, number>()
  private readonly named = new Set<number>()
  /** Bytes that were not durable yet when a name was asked for, by file and page. */
  private readonly expected = new Map<number, ReadonlyMap<number, Uint8Array>>()

  constructor(
    private readonly pages: PageInvariants,
    private readonly coverage: Coverage
  ) {}

  /** A name is about to be asked for. Nothing may be written to the file until `answered`. */
  asking(client: DsmClient, file: number): void {
    // A page that the client gave up for a truncation still has its old bytes. It stays dirty until they are durable.
    const dirty = [...inspectClient(client).pages].filter(
      (page) => page.file === file && page.dirty && page.access !== 'invalid'
    )
    this.expected.set(file, new Map(dirty.map((page) => [page.index, page.frame!.bytes.slice()])))
  }

  /** The call has ended. */
  answered(file: number, isDone: boolean): void {
    this.expected.delete(file)
    if (isDone && !this.named.has(file)) throw new Violation('a name that is given is in the log', `file ${file}`)
  }

  /** The first application of an entry. */
  applied(state: StateView, applied: Applied): void {
    if (applied.type === 'opened' && applied.stat.path === '') this.creators.set(applied.stat.id, applied.session)
    else if (applied.type === 'linked') this.linked(applied.file)
    else if (applied.type === 'closed' && this.creators.delete(applied.file)) this.checkGone(state, applied.file)
    else if (applied.type === 'session-ended') this.ended(state, applied.session)
    else return
    for (const [id, session] of this.creators) {
      const file = state.file(id)
      const sessions = [...(file?.sessions ?? [])]
      if (file?.linked !== false || sessions.length !== 1 || sessions[0] !== session) {
        throw new Violation('only its creator has an unnamed file', `file ${id} of ${session}: ${JSON.stringify(file)}`)
      }
    }
  }

  private linked(file: number): void {
    this.creators.delete(file)
    this.named.add(file)
    this.coverage.add('files named')
    const expected = this.expected.get(file) ?? new Map<number, Uint8Array>()
    if (expected.size > 0) this.coverage.add('files named that were flushed for it')
    for (const [page, bytes] of expected) {
      if (Buffer.compare(this.pages.committedBytes(file, page), bytes) === 0) continue
      throw new Violation('a named file has its bytes', `page ${file}:${page} is not committed when the file is named`)
    }
  }

  private ended(state: StateView, session: number): void {
    for (const [file, creator] of this.creators) {
      if (creator !== session) continue
      this.creators.delete(file)
      this.checkGone(state, file)
      this.coverage.add('unnamed files that ended with their session')
    }
  }

  private checkGone(state: StateView, file: number): void {
    const pages = [...(this.pages.files.get(file)?.pages.keys() ?? [])]
    if (state.file(file) === undefined && pages.every((page) => state.version(file, page) === 0)) return
    throw new Violation('an unnamed file ends with its session', `file ${file}`)
  }
}
