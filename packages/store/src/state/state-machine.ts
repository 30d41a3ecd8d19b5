/**
 * The replicated state machine: every peer applies the same entries in the same order and comes to the same state.
 *
 * Pure and synchronous. It reads pages from, and hands every change to, the `StateStore` that it is given; the tables
 * (sessions, files, mappings, owners, answers) it holds itself.
 */
import {
  assert,
  decode,
  DEFAULT_PAGE_BYTES,
  FileExistsError,
  InvalidArgumentError,
  NoSuchFileError,
  SessionExpiredError,
  refusePageSize,
  refusePath,
  refuseSize,
  type DirtyPageBytes,
  type QuireError,
  type WireFileStat,
  type WritebackOutcome
} from '@quire/protocol'
import { Answers, MAX_UNSETTLED_REQUESTS } from './answers.js'
import { clusterConfig, decodeCommand, type CommandOf, type ReplicatedConfig } from './commands.js'
import { Digest } from './digest.js'
import { Namespace } from './namespace.js'
import { Owners } from './owners.js'
import { encodeRecord, type Answer, type RestoredState, type StateRecord, type StateStore } from './records.js'
import { Sessions, type Session } from './sessions.js'
import type {
  Applied,
  FileId,
  FileRecord,
  PageContent,
  PageOwner,
  SessionId,
  SessionRecord,
  StateView
} from './view.js'

export type EntryKind = 'normal' | 'config' | 'noop'

/** Records that it returns are snapshots of the moment: ask again after the next `apply`. */
export interface StateMachine extends StateView {
  /**
   * Applies the entry after `appliedIndex`. `data` is an encoded command, for a 'config' entry its application context
   * (`clusterConfig`; empty: unchanged); it may be reused afterwards. Undefined for entries that say nothing to the application.
   * Throws CodecError or VersionMismatchError, and changes nothing, for an entry that this version cannot read: the peer has to stop.
   */
  apply(index: number, kind: EntryKind, data: Uint8Array): Applied | undefined
  /** Checksum of the whole logical state with every page's bytes: equal on peers that have applied the same entries. Reads all pages. */
  digest(): string
}

/** `store` belongs to the state machine; `restored` must be what the same store kept. */
export function createStateMachine(store: StateStore, restored?: RestoredState): StateMachine {
  const machine = new Machine(store)
  if (restored !== undefined) machine.restore(restored)
  return machine
}

type RequestCommand = CommandOf<'open' | 'close' | 'extend'>

class Machine implements StateMachine {
  appliedIndex = 0
  config: ReplicatedConfig | undefined
  private readonly namespace: Namespace
  private readonly sessionTable: Sessions
  private readonly owners: Owners
  private readonly answers: Answers

  constructor(private readonly store: StateStore) {
    this.namespace = new Namespace(store)
    this.sessionTable = new Sessions(store, this.namespace)
    this.owners = new Owners(store)
    this.answers = new Answers(store)
  }

  apply(index: number, kind: EntryKind, data: Uint8Array): Applied | undefined {
    assert(index === this.appliedIndex + 1, `entry ${index} applied after ${this.appliedIndex}`)
    const applied = kind === 'normal' ? this.execute(index, data) : kind === 'config' ? this.configure(data) : undefined
    this.appliedIndex = index
    return applied
  }

  // -- entries

  private configure(context: Uint8Array): Applied {
    // A change of the membership alone repeats no context.
    if (context.length > 0) {
      this.config = decode(clusterConfig, context)
      this.store.put('config', 0, 0, this.config)
    }
    return { type: 'config' }
  }

  private execute(index: number, data: Uint8Array): Applied {
    const { command } = decodeCommand(data)
    switch (command.type) {
      case 'openSession':
        this.sessionTable.open(index, command.clientId, command.ttlMs)
        return { type: 'session-opened', session: index }
      case 'expireSession':
        return this.endSession(command.session, true)
      case 'endSession':
        return this.endSession(command.session, false)
      case 'open':
      case 'close':
      case 'extend':
        return this.request(index, command)
      case 'handover':
        return this.handover(index, command)
      case 'writeback':
        return this.writeback(index, command)
    }
  }

  private endSession(id: SessionId, expired: boolean): Applied {
    const session = this.sessionTable.get(id)
    if (session !== undefined) {
      this.owners.releaseSession(id)
      this.answers.forget(id)
      this.sessionTable.end(session)
    }
    return { type: 'session-ended', session: id, existed: session !== undefined, expired }
  }

  private request(index: number, command: RequestCommand): Applied {
    const { seq } = command
    const fail = (error: QuireError): Answer => ({ type: 'failed', session: command.session, seq, error })
    const session = this.sessionTable.get(command.session)
    if (session === undefined) return fail(new SessionExpiredError(String(command.session)))
    const remembered = this.answers.get(session.id, seq)
    // Before settling: whoever repeats a request has not got its answer, whatever it says about others.
    if (remembered !== undefined) return remembered
    if (command.settled > session.settled) {
      this.sessionTable.settle(session, command.settled)
      this.answers.forget(session.id, command.settled)
    }
    // Neither refusal is remembered. The first is a late copy of a request whose answer is forgotten and must not apply again.
    if (seq < session.settled)
      return fail(new InvalidArgumentError('seq', seq, `at least ${session.settled}, the first unsettled`))
    if (seq >= session.settled + MAX_UNSETTLED_REQUESTS) {
      return fail(
        new InvalidArgumentError('seq', seq, `less than ${MAX_UNSETTLED_REQUESTS} above settled (${session.settled})`)
      )
    }
    const outcome = this.perform(index, session, command)
    const answer = outcome instanceof Error ? fail(outcome) : outcome
    this.answers.remember(answer)
    return answer
  }

  private perform(index: number, session: Session, command: RequestCommand): Answer | QuireError {
    const { seq } = command
    switch (command.type) {
      case 'open': {
        const file = this.open(index, command)
        if (file instanceof Error) return file
        this.sessionTable.map(session, file.id)
        return { type: 'opened', session: session.id, seq, stat: statOf(file) }
      }
      case 'close':
        this.owners.releaseFile(session.id, command.file)
        this.sessionTable.unmap(session, command.file)
        return { type: 'closed', session: session.id, seq, file: command.file }
      case 'extend': {
        const file = session.files.has(command.file) ? this.namespace.get(command.file) : undefined
        if (file === undefined)
          return new InvalidArgumentError('file', command.file, 'a file that this session has open')
        const refusal = refuseSize(command.size)
        if (refusal !== undefined) return refusal
        // Bytes between the old and the new end were never stored, so the new part reads as zeros.
        const grown = command.size > file.size ? this.namespace.touch(file, index, command.at, command.size) : file
        return { type: 'extended', session: session.id, seq, file: file.id, size: grown.size }
      }
    }
  }

  private open(index: number, command: CommandOf<'open'>): FileRecord | QuireError {
    const { path, pageSize, size, at } = command
    const refusal = refusePath(path) ?? (pageSize === 0 ? undefined : refusePageSize(pageSize))
    if (refusal !== undefined) return refusal
    const existing = this.namespace.getByPath(path)
    if (existing === undefined) {
      if (!command.create) return new NoSuchFileError(path)
      return (
        refuseSize(size) ??
        this.namespace.create({
          id: index,
          path,
          size,
          pageSize: pageSize === 0 ? DEFAULT_PAGE_BYTES : pageSize,
          unit: 'page',
          version: index,
          createdAt: at,
          modifiedAt: at
        })
      )
    }
    if (command.create && command.exclusive) return new FileExistsError(path)
    if (pageSize !== 0 && pageSize !== existing.pageSize) {
      return new InvalidArgumentError('pageSize', pageSize, `${existing.pageSize}, as the file has it`)
    }
    return existing
  }

  private handover(index: number, command: CommandOf<'handover'>): Applied {
    const { file: fileId, page, from, fromEpoch, to, seq, bytes, at } = command
    const file = this.namespace.get(fileId)
    const before = this.owner(fileId, page)
    const done =
      file !== undefined &&
      isWithin(file, page) &&
      before.session === from &&
      before.epoch === fromEpoch &&
      (to === 0 || this.sessionTable.get(to)?.files.has(fileId) === true) &&
      // Bytes come from an owner only. An owner on record is live: its session's end would have taken the page from it.
      (bytes === undefined || (from !== 0 && bytes.length === file.pageSize))
    if (!done)
      return { type: 'handover', file: fileId, page, done: false, owner: before, version: this.version(fileId, page) }
    // Bytes that are not newer came with a writeback before and are stored already.
    if (bytes !== undefined && seq > before.seq) this.storePage(index, file, page, bytes, at)
    const owner = this.owners.transfer(fileId, page, to)
    return { type: 'handover', file: fileId, page, done: true, owner, version: this.version(fileId, page) }
  }

  private writeback(index: number, command: CommandOf<'writeback'>): Applied {
    const { session, at } = command
    const outcomes = command.pages.map((dirty) => this.writebackPage(index, session, dirty, at))
    return { type: 'writeback', session, outcomes }
  }

  private writebackPage(index: number, session: SessionId, dirty: DirtyPageBytes, at: number): WritebackOutcome {
    const { file: fileId, page, epoch, seq, bytes } = dirty
    const file = this.namespace.get(fileId)
    const owner = this.owner(fileId, page)
    const isOwner = session !== 0 && owner.session === session && owner.epoch === epoch
    if (file === undefined || !isOwner || bytes.length !== file.pageSize) {
      return { file: fileId, page, epoch, seq, version: 0, stale: true }
    }
    if (seq > owner.seq) {
      this.storePage(index, file, page, bytes, at)
      this.owners.written(fileId, page, seq)
    }
    return { file: fileId, page, epoch, seq, version: this.version(fileId, page), stale: false }
  }

  private storePage(index: number, file: FileRecord, page: number, bytes: Uint8Array, at: number): void {
    // A copy: `bytes` is a view of the entry, which may be part of a much larger buffer.
    const stored = bytes.slice()
    // What is written beyond the end is never stored, or growing the file would bring it to light.
    const end = file.size - page * file.pageSize
    if (end < stored.length) stored.fill(0, end)
    this.store.write(file.id, page, { version: index, bytes: stored })
    this.namespace.touch(file, index, at)
  }

  // -- view

  session(id: SessionId): SessionRecord | undefined {
    return this.sessionTable.get(id)
  }

  sessions(): Iterable<SessionRecord> {
    return this.sessionTable.all()
  }

  file(id: FileId): FileRecord | undefined {
    return this.namespace.get(id)
  }

  fileByPath(path: string): FileRecord | undefined {
    return this.namespace.getByPath(path)
  }

  list(prefix: string, after: string, limit: number): FileRecord[] {
    return this.namespace.list(prefix, after, limit)
  }

  owner(file: FileId, page: number): PageOwner {
    return this.owners.get(file, page)
  }

  ownedPages(): number {
    return this.owners.owned
  }

  version(file: FileId, page: number): number {
    return this.store.version(file, page)
  }

  page(file: FileId, page: number): PageContent {
    return this.store.read(file, page) ?? neverWritten
  }

  digest(): string {
    const digest = new Digest()
    digest.add(`applied ${this.appliedIndex}`, nothing)
    for (const { kind, a, b, value } of this.records()) digest.add(`${kind} ${a} ${b}`, encodeRecord(kind, value))
    for (const file of this.namespace.ids()) {
      for (const page of this.store.pages(file)) {
        const { version, bytes } = this.page(file, page)
        digest.add(`page ${file} ${page} ${version}`, bytes ?? nothing)
      }
    }
    return digest.toString()
  }

  // -- restoring

  restore(restored: RestoredState): void {
    const files: WireFileStat[] = []
    const later: StateRecord[] = []
    for (const record of restored.records) {
      if (record.kind === 'file') files.push(record.value)
      else if (record.kind === 'session') this.sessionTable.restoreSession(record.a, record.value)
      else later.push(record)
    }
    this.namespace.restore(files)
    for (const record of later) this.restoreRecord(record)
    this.appliedIndex = restored.appliedIndex
  }

  private restoreRecord(record: StateRecord): void {
    switch (record.kind) {
      case 'config':
        this.config = record.value
        break
      case 'epochFloor':
        this.owners.restoreFloor(record.value.epoch)
        break
      case 'mapping':
        this.sessionTable.restoreMapping(record.a, record.b)
        break
      case 'owner':
        this.owners.restore(record.a, record.b, record.value)
        break
      case 'answer':
        this.answers.restore(record.value)
        break
      case 'session':
      case 'file':
        break
    }
  }

  private *records(): IterableIterator<StateRecord> {
    if (this.config !== undefined) yield { kind: 'config', a: 0, b: 0, value: this.config }
    yield* this.namespace.records()
    yield* this.sessionTable.records()
    yield* this.owners.records()
    yield* this.answers.records()
  }
}

const nothing = new Uint8Array(0)
const neverWritten: PageContent = { version: 0, bytes: undefined }

function isWithin(file: FileRecord, page: number): boolean {
  return page * file.pageSize < file.size
}

/** Without the sessions, which are not the client's business. */
function statOf(file: FileRecord): WireFileStat {
  const { id, path, size, pageSize, unit, version, createdAt, modifiedAt } = file
  return { id, path, size, pageSize, unit, version, createdAt, modifiedAt }
}
