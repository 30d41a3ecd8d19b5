import { assert, patchPage, type PageWrite } from '@quire/protocol'
import { DamagedPageError, decodeCommand, type Applied, type Command, type StateView } from '@quire/store/internal'
import type { ClientView } from '@quire/dsm-client/internal'
import type { Coverage } from '../coverage.js'
import { Violation } from '../violation.js'
import { PAGE_BYTES } from './page-layout.js'
import type { SimPeer } from './peers.js'

interface PageModel {
  readonly file: number
  readonly page: number
  committed: Uint8Array
}

interface FileModel {
  readonly id: number
  readonly initialSize: number
  readonly isWhole: boolean
  /** The committed size. */
  size: number
  /** Pages that were discarded, from `first` up to but without `end`, and when. */
  readonly discards: { readonly at: number; readonly first: number; readonly end: number }[]
  readonly pages: Map<number, PageModel>
}

export interface ViewedClient {
  readonly name: string
  view(): ClientView | undefined
}

const ZEROS = new Uint8Array(PAGE_BYTES)

/**
 * Checks the guarantees of the coherence protocol for pages from outside, after every event.
 *
 * They hold for all clients whose lease is valid at that instant of true time:
 *
 * - a page is writable at one client and readable nowhere else, or readable at many with equal bytes; a file that is
 *   owned as a whole is accessible at one client only;
 * - a clean copy holds the committed bytes, so visible bytes are durable.
 *
 * The whole history judges what calls return (history.ts).
 */
export class PageInvariants {
  readonly files = new Map<number, FileModel>()
  private readonly expired = new Set<number>()

  constructor(
    private readonly clients: () => readonly ViewedClient[],
    private readonly now: () => number,
    private readonly coverage: Coverage
  ) {}

  /** True time. */
  get time(): number {
    return this.now()
  }

  sizeOf(file: number): number {
    return this.files.get(file)?.size ?? 0
  }

  /** Whether a discard of the page was committed since then. */
  wasDiscarded(file: number, page: number, since: number): boolean {
    const discards = this.files.get(file)?.discards ?? []
    return discards.some(({ at, first, end }) => at >= since && page >= first && page < end)
  }

  committedBytes(file: number, page: number): Uint8Array {
    return this.files.get(file)?.pages.get(page)?.committed ?? ZEROS
  }

  // ---- what the log says

  /** The first peer applies an entry. */
  applied(peer: SimPeer, index: number, applied: Applied): void {
    const { state } = peer.core!.root.replica.applier
    switch (applied.type) {
      case 'handover':
        for (const i of applied.outcomes.keys()) {
          const { file, page } = applied
          if (isVersion(state, file, page + i, index)) this.written(peer, index, i)
        }
        return
      case 'writeback':
        for (const [i, outcome] of applied.outcomes.entries()) {
          if (isVersion(state, outcome.file, outcome.page, index)) this.written(peer, index, i)
        }
        return
      case 'session-ended':
        if (applied.existed && applied.expired) this.expired.add(applied.session)
        return
      case 'opened': {
        const { id, size, unit } = applied.stat
        if (this.files.has(id)) return
        this.files.set(id, { id, initialSize: size, size, isWhole: unit === 'file', discards: [], pages: new Map() })
        return
      }
      case 'extended':
      case 'truncated': {
        const file = this.files.get(applied.file)!
        file.size = state.file(applied.file)?.size ?? applied.size
        if (applied.type === 'truncated') this.truncated(state, file, applied.size)
        return
      }
      case 'punched':
        return this.discarded(this.files.get(applied.file)!, applied.first, applied.end)
      case 'config':
      case 'compare':
      case 'session-opened':
      case 'closed':
      case 'renamed':
      case 'unlinked':
      case 'linked':
      case 'failed':
    }
  }

  /** The entry has stored its page `i`. The first peer to apply it may have lost the page, if it is a diff. */
  private written(peer: SimPeer, index: number, i: number): void {
    const { log, applier } = peer.core!.root.replica
    const [entry] = log.entries(index, index + 1, 1)
    const { command } = decodeCommand(entry!.data)
    const { file, page, ranges, bytes } = writeOf(command, i)
    if (command.type === 'handover' && ranges !== undefined) this.coverage.add('pages handed over as diffs')
    try {
      this.commit(applier.state, file, page)
    } catch (error) {
      if (!(error instanceof DamagedPageError) || ranges === undefined) throw error
      const model = this.model(file, page)
      model.committed = model.committed.slice()
      patchPage(model.committed, { ranges, bytes })
    }
  }

  private truncated(state: StateView, file: FileModel, size: number): void {
    this.discarded(file, Math.ceil(size / PAGE_BYTES), Infinity)
    const rest = size % PAGE_BYTES
    if (rest === 0) return
    const page = Math.floor(size / PAGE_BYTES)
    try {
      this.commit(state, file.id, page)
    } catch (error) {
      if (!(error instanceof DamagedPageError)) throw error
      // The first peer to apply the entry has lost the page. The others know what is left of it.
      const model = this.model(file.id, page)
      model.committed = model.committed.slice().fill(0, rest)
    }
  }

  private discarded(file: FileModel, first: number, end: number): void {
    file.discards.push({ at: this.now(), first, end })
    for (const [page, model] of file.pages) if (page >= first && page < end) model.committed = ZEROS
  }

  private commit(state: StateView, file: number, page: number): void {
    const { version, bytes } = state.page(file, page)
    if (version !== 0 && bytes === undefined) this.coverage.add('pages stored as zeros')
    this.model(file, page).committed = bytes ?? ZEROS
  }

  private model(file: number, page: number): PageModel {
    const { pages } = this.files.get(file)!
    let model = pages.get(page)
    if (model === undefined) pages.set(page, (model = { file, page, committed: ZEROS }))
    return model
  }

  // ---- after every event

  check(): void {
    const held = new Map<PageModel, { client: string; access: string; bytes: Uint8Array }>()
    const wholes = new Map<number, string>()
    for (const { name, view: look } of this.clients().map((client) => ({ name: client.name, view: client.view() }))) {
      if (look === undefined || !look.isValid) continue
      if (this.expired.has(look.session)) {
        throw new Violation('lease', `${name} serves session ${look.session}, which has expired`)
      }
      for (const page of look.pages) {
        checkMapping(name, page)
        if (page.access === 'invalid') continue
        this.checkWhole(wholes, page.file, name)
        const model = this.model(page.file, page.index)
        const { bytes } = page.frame!
        const where = `${name}, page ${page.file}:${page.index}`
        const other = held.get(model)
        if (other === undefined) held.set(model, { client: name, access: page.access, bytes })
        else if (other.access === 'modified' || page.access === 'modified') {
          const facts = `${where}: ${page.access}; ${other.client}: ${other.access}`
          throw new Violation('one writer or many readers', facts)
        } else if (Buffer.compare(bytes, other.bytes) !== 0) {
          throw new Violation('equal copies', `${where} and ${other.client}: ${difference(bytes, other.bytes)}`)
        }
        if (!page.dirty && Buffer.compare(bytes, model.committed) !== 0) {
          const facts = `${where}, ${page.access}, version ${page.version}: ${difference(bytes, model.committed)}`
          throw new Violation('clean copies are committed', facts)
        }
      }
    }
  }

  private checkWhole(wholes: Map<number, string>, file: number, client: string): void {
    if (this.files.get(file)?.isWhole !== true) return
    const other = wholes.get(file)
    if (other !== undefined && other !== client) {
      throw new Violation('one holder of a whole file', `file ${file}: ${client} and ${other}`)
    }
    wholes.set(file, client)
  }
}

function difference(a: Uint8Array, b: Uint8Array): string {
  const at = a.findIndex((byte, i) => byte !== b[i])
  const hex = (bytes: Uint8Array): string => Buffer.from(bytes.subarray(at, at + 4)).toString('hex')
  return `${hex(a)} and ${hex(b)} at ${at}`
}

/** The entry has stored the page. Then its bytes are in memory, where they do not rot. */
/** What the entry stored as its page `i`. */
function writeOf(command: Command, i: number): Pick<PageWrite, 'file' | 'page' | 'ranges' | 'bytes'> {
  if (command.type === 'writeback') return command.pages[i]!
  assert(command.type === 'handover', `a ${command.type} was applied as a writeback or a handover`)
  const given = command.pages[i]
  assert(given !== undefined, 'a handover without bytes has stored a page')
  return { file: command.file, page: command.page + i, ranges: given.ranges, bytes: given.bytes }
}

function isVersion(state: StateView, file: number, page: number, index: number): boolean {
  try {
    return state.version(file, page) === index
  } catch (error) {
    if (error instanceof DamagedPageError) return false
    throw error
  }
}

type ViewedPage = ClientView['pages'] extends Iterable<infer T> ? T : never

/** docs/threads.md: the two rules of a page's mapping. */
function checkMapping(client: string, { file, index, mapped, access, dirty, changed }: ViewedPage): void {
  if (mapped === 'invalid' || (mapped === 'shared' && access !== 'invalid')) return
  if (mapped === 'modified' && access === 'modified' && dirty && changed) return
  const facts = `${client}, page ${file}:${index}: ${access}, dirty ${dirty}, changed ${changed}, mapped ${mapped}`
  throw new Violation('a page is mapped within its access', facts)
}
