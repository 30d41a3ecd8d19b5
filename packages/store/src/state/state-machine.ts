/**
 * The replicated state machine. All peers apply the same entries in the same order and reach the same state.
 *
 * The state machine is pure and synchronous. It keeps its tables (sessions, files, mappings, owners, answers) in
 * memory. It reads pages from its `StateStore`, and passes each change to that store.
 */
import { assert, decode } from '@quire/protocol'
import { Answers } from './answers.js'
import { clusterConfig, decodeCommand, type ReplicatedConfig } from './commands.js'
import { Digest } from './digest.js'
import { Namespace } from './namespace.js'
import { Owners } from './owners.js'
import { PageChanges } from './page-changes.js'
import { encodeRecord, type FileData, type RestoredState, type StateRecord, type StateStore } from './records.js'
import { RequestApplier } from './request-applier.js'
import { Sessions } from './sessions.js'
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

/** Applies entries. The records that it returns are snapshots, which are out of date after the next `apply`. */
export interface StateMachine extends StateView {
  /**
   * Applies the entry after `appliedIndex`. `data` is an encoded command. For a 'config' entry it is the application
   * context (`clusterConfig`), or empty if that stays the same. The caller may reuse the buffer afterwards.
   *
   * Returns undefined for an entry without a command. Throws CodecError or VersionMismatchError, and changes nothing,
   * for an entry that this version cannot read; the peer then has to stop.
   */
  apply(index: number, kind: EntryKind, data: Uint8Array): Applied | undefined
  /**
   * Replaces the state with `restored`, which must come from the same store. The state machine stays the same object,
   * so its users see the new state. If the iteration of the records throws, the state is incomplete and the peer must
   * stop.
   */
  reset(restored: RestoredState): void
  /** The records of the state. */
  records(): Iterable<StateRecord>
  /**
   * Returns a checksum of the whole logical state, including the bytes of all pages, which it reads. Peers that have
   * applied the same entries have the same digest.
   */
  digest(): string
}

/**
 * Makes a state machine, which owns `store` from here on. `restored` must come from the same store. `maxReleased` is
 * the limit of `Owners`, and must be the same at all peers.
 */
export function createStateMachine(store: StateStore, restored?: RestoredState, maxReleased?: number): StateMachine {
  const machine = new Machine(store, maxReleased)
  if (restored !== undefined) machine.reset(restored)
  return machine
}

/** Holds the tables that the entries change. */
class Machine implements StateMachine {
  appliedIndex = 0
  config: ReplicatedConfig | undefined
  founding: ReplicatedConfig | undefined
  private readonly namespace: Namespace
  private readonly sessionTable: Sessions
  private readonly owners: Owners
  private readonly answers: Answers
  private readonly pages: PageChanges
  private readonly requests: RequestApplier

  constructor(
    private readonly store: StateStore,
    maxReleased: number | undefined
  ) {
    const namespace = new Namespace(store)
    const sessions = new Sessions(store, namespace)
    const owners = new Owners(store, maxReleased)
    const answers = new Answers(store)
    const pages = new PageChanges(store, namespace, sessions, owners)
    this.namespace = namespace
    this.sessionTable = sessions
    this.owners = owners
    this.answers = answers
    this.pages = pages
    this.requests = new RequestApplier({ namespace, sessions, owners, pages }, answers)
  }

  apply(index: number, kind: EntryKind, data: Uint8Array): Applied | undefined {
    assert(index === this.appliedIndex + 1, `entry ${index} applied after ${this.appliedIndex}`)
    const applied = kind === 'normal' ? this.execute(index, data) : kind === 'config' ? this.configure(data) : undefined
    this.appliedIndex = index
    return applied
  }

  // -- entries

  private configure(context: Uint8Array): Applied {
    // An entry that changes only the membership has no context.
    if (context.length > 0) {
      this.config = decode(clusterConfig, context)
      this.store.put('config', 0, 0, this.config)
      if (this.founding === undefined) {
        this.founding = this.config
        this.store.put('founding', 0, 0, this.founding)
      }
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
      case 'compare':
        return { type: 'compare' }
      case 'handover':
        return this.pages.handover(index, command)
      case 'writeback':
        return this.pages.writeback(index, command)
      default:
        return this.requests.apply(index, command)
    }
  }

  private endSession(session: SessionId, expired: boolean): Applied {
    const existed = this.requests.endSession(session)
    return { type: 'session-ended', session, existed, expired }
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
    return this.pages.owner(file, page)
  }

  ownedPages(): number {
    return this.owners.owned
  }

  isAnswered(session: SessionId, seq: number): boolean {
    return this.answers.get(session, seq) !== undefined
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

  reset(restored: RestoredState): void {
    this.config = undefined
    this.founding = undefined
    this.sessionTable.clear()
    this.owners.clear()
    this.answers.clear()
    const files: FileData[] = []
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
      case 'founding':
        this.founding = record.value
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

  *records(): IterableIterator<StateRecord> {
    if (this.config !== undefined) yield { kind: 'config', a: 0, b: 0, value: this.config }
    if (this.founding !== undefined) yield { kind: 'founding', a: 0, b: 0, value: this.founding }
    yield* this.namespace.records()
    yield* this.sessionTable.records()
    yield* this.owners.records()
    yield* this.answers.records()
  }
}

const nothing = new Uint8Array(0)
const neverWritten: PageContent = { version: 0, bytes: undefined }
