/** A directory over a real state machine. The test decides what clients do and when the log commits. */
import type { Access, ClientMessageOf, LeaderMessage, LeaderMessageOf, PageWrite, QuireError } from '@quire/protocol'
import { Directory } from '../../src/directory/directory.js'
import type { CoherenceMessage, DirectoryCommand } from '../../src/directory/types.js'
import { encodeCommand, type Applied, type Command, type CommandOf } from '../../src/state/index.js'
import { createStateMachine, type StateMachine } from '../../src/state/state-machine.js'
import { filled, memoryStore, PAGE } from '../state-helpers.js'

export class DirectoryWorld {
  readonly store = memoryStore()
  readonly machine: StateMachine = createStateMachine(this.store)
  /** The directory of the current term. */
  directory: Directory
  /** Commands that are proposed and not committed. */
  proposals: DirectoryCommand[] = []
  /** Files whose discard is over, in order. */
  readonly over: number[] = []
  private readonly inboxes = new Map<number, LeaderMessage[]>()
  private term = 1
  private seq = 1
  private nextReq = 1

  constructor() {
    this.machine.apply(1, 'noop', new Uint8Array(0))
    this.directory = new Directory(this.term, this.machine)
  }

  // ---- sessions and files

  session(): number {
    const { session } = this.apply<'session-opened'>({ type: 'openSession', clientId: 'c', ttlMs: 1000, at: 0 })
    this.connect(session)
    return session
  }

  /** Opens `/file` in as many new sessions. Returns its id and the sessions. */
  sharedFile(sessions: number, options: Partial<CommandOf<'open'>> = {}): [file: number, sessions: number[]] {
    const all = Array.from({ length: sessions }, () => this.session())
    const files = all.map((session) => this.open(session, '/file', options))
    return [files[0]!, all]
  }

  open(session: number, path: string, options: Partial<CommandOf<'open'>> = {}): number {
    const defaults = { create: true, exclusive: false, size: 10 * PAGE, pageSize: 0, unit: undefined }
    return this.apply<'opened'>({ type: 'open', ...this.request(session), path, ...defaults, ...options }).stat.id
  }

  close(session: number, file: number): void {
    this.apply({ type: 'close', ...this.request(session), file })
  }

  expire(session: number): void {
    this.apply({ type: 'expireSession', session, at: 0 })
  }

  connect(session: number): void {
    this.inboxes.set(session, [])
    this.directory.connected(session)
    this.carryOut()
  }

  disconnect(session: number): void {
    this.inboxes.delete(session)
    this.directory.disconnected(session)
    this.carryOut()
  }

  /**
   * Elects another leader. `kept` of the proposals are in its log, and the others are lost. No session is connected.
   */
  elect(kept = 0): void {
    for (const session of [...this.inboxes.keys()]) this.disconnect(session)
    const proposals = this.proposals.splice(0)
    for (const command of proposals.slice(0, kept)) this.commitCommand({ ...command, at: 0 })
    this.directory = new Directory(++this.term, this.machine)
  }

  // ---- requests of clients

  fault(session: number, file: number, page: number, access: Access, have = 0): number {
    const req = this.nextReq++
    this.tell(session, { type: 'fault', req, file, page, count: 1, access, have })
    return req
  }

  /** Sends a fault, and lets all sessions obey their orders until the fault is granted. */
  acquire(session: number, file: number, page: number, access: Access): LeaderMessageOf<'grant'> {
    const req = this.fault(session, file, page, access)
    this.settle()
    const grant = this.granted(session, req)
    if (grant === undefined) throw new Error(`page ${page} was not granted to ${session}`)
    return grant
  }

  truncate(session: number, file: number, size: number, seq = this.seq++): QuireError | undefined {
    return this.discard(session, { type: 'truncate', seq, settled: 1, file, size })
  }

  punch(session: number, file: number, first: number, end: number, seq = this.seq++): QuireError | undefined {
    return this.discard(session, { type: 'punch', seq, settled: 1, file, first, end })
  }

  private discard(session: number, request: ClientMessageOf<'truncate' | 'punch'>): QuireError | undefined {
    const error = this.directory.discard(session, request)
    this.carryOut()
    return error
  }

  extend(session: number, file: number, size: number): void {
    this.apply({ type: 'extend', ...this.request(session), file, size })
  }

  tell(session: number, message: CoherenceMessage): void {
    this.directory.receive(session, message)
    this.carryOut()
  }

  // ---- answers of clients

  /** Answers the oldest order of this type that the session has not answered. */
  answer(session: number, type: 'invalidate' | 'revoke' | 'downgrade' | 'discard', dirty?: Partial<PageWrite>): void {
    const inbox = this.inboxes.get(session) ?? []
    const at = inbox.findIndex((message) => message.type === type)
    if (at < 0) throw new Error(`session ${session} was sent no ${type}`)
    this.obey(session, inbox.splice(at, 1)[0]!, dirty)
  }

  private obey(session: number, message: LeaderMessage, dirty?: Partial<PageWrite>): void {
    if (message.type === 'invalidate') {
      const { op, file, page } = message
      this.tell(session, { type: 'invalidateAck', op, file, page, count: 1 })
    } else if (message.type === 'discard') {
      this.tell(session, { type: 'discardAck', op: message.op, file: message.file })
    } else if (message.type === 'revoke' || message.type === 'downgrade') {
      const { op, file, page } = message
      if (dirty === undefined) return this.tell(session, { type: 'ownerAck', op, file, page, count: 1, held: true })
      const bytes = { file, page, epoch: this.machine.owner(file, page).epoch, seq: 1, bytes: filled(9), ...dirty }
      this.tell(session, { type: 'ownerAckDirty', op, pages: [bytes] })
    }
  }

  /** All sessions obey their orders without dirty bytes, and all proposals commit, until none is left. */
  settle(): void {
    for (let isBusy = true; isBusy;) {
      isBusy = this.proposals.length > 0
      while (this.proposals.length > 0) this.commit()
      for (const [session, inbox] of this.inboxes) {
        for (const message of inbox.splice(0)) {
          const isOrder = ['invalidate', 'revoke', 'downgrade', 'discard'].includes(message.type)
          if (!isOrder) {
            this.read.push([session, message])
            continue
          }
          isBusy = true
          this.obey(session, message)
        }
      }
    }
  }

  /** The messages other than orders, oldest first. */
  private readonly read: [session: number, message: LeaderMessage][] = []

  private messages(session: number): LeaderMessage[] {
    const read = this.read.filter(([to]) => to === session).map(([, message]) => message)
    return [...read, ...(this.inboxes.get(session) ?? [])]
  }

  granted(session: number, req: number): LeaderMessageOf<'grant'> | undefined {
    return this.all(session, 'grant').find((grant) => grant.req === req)
  }

  failed(session: number, req: number): string | undefined {
    return this.all(session, 'faultFailed').find((failure) => failure.req === req)?.error.code
  }

  all<T extends LeaderMessage['type']>(session: number, type: T): LeaderMessageOf<T>[] {
    return this.messages(session).filter((message): message is LeaderMessageOf<T> => message.type === type)
  }

  last<T extends LeaderMessage['type']>(session: number, type: T): LeaderMessageOf<T> | undefined {
    return this.all(session, type).at(-1)
  }

  // ---- the log

  /** The oldest proposal becomes an entry. */
  commit(): Applied {
    const command = this.proposals.shift()
    if (command === undefined) throw new Error('nothing is proposed')
    return this.apply({ ...command, at: 0 })
  }

  apply<T extends Applied['type']>(command: Command): Extract<Applied, { type: T }> {
    const outcome = this.commitCommand(command)
    this.directory.applied(outcome)
    this.carryOut()
    return outcome as Extract<Applied, { type: T }>
  }

  private commitCommand(command: Command): Applied {
    return this.machine.apply(this.machine.appliedIndex + 1, 'normal', encodeCommand(command))!
  }

  request(session: number) {
    return { session, seq: this.seq++, settled: 1, at: 0 }
  }

  private carryOut(): void {
    for (const effect of this.directory.effects()) {
      if (effect.type === 'propose') this.proposals.push(effect.command)
      else if (effect.type === 'send') this.inboxes.get(effect.session)?.push(effect.message)
      else if (effect.type === 'discarded') this.over.push(effect.file)
      else throw new Error('no page of this store is damaged')
    }
  }
}
