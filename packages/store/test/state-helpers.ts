/** State machines and page stores in memory, and random sequences of commands that often have an effect. */
import type { Clock } from '@quire/protocol'
import fc from 'fast-check'
import { createMemoryStorage, createPageStore, type CommittedEntry, type MemoryStorage } from '../src/pages/index.js'
import {
  createStateMachine,
  encodeCommand,
  type Applied,
  type Command,
  type StateMachine,
  type StateStore
} from '../src/state/index.js'

export const PAGE = 4096

/** A scheduler that runs a callback only when a test calls `step`. */
export function manualScheduler() {
  const queue: (() => void)[] = []
  return {
    schedule: (callback: () => void): void => void queue.push(callback),
    get length() {
      return queue.length
    },
    /** Runs the oldest callback and the promise reactions that follow. */
    async step(): Promise<void> {
      queue.shift()?.()
      await settle()
    }
  }
}

/** Runs all promise reactions that are ready, and those that follow. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 50; i++) await Promise.resolve()
}

export function manualClock(): Clock & { advance(ms: number): Promise<void> } {
  let now = 0
  const timers = new Set<{ at: number; callback: () => void }>()
  return {
    now: () => now,
    wallTime: () => now,
    schedule: (delayMs, callback) => {
      const timer = { at: now + delayMs, callback }
      timers.add(timer)
      return () => timers.delete(timer)
    },
    advance: async (ms) => {
      now += ms
      for (const timer of [...timers]) {
        if (timer.at > now) continue
        timers.delete(timer)
        timer.callback()
      }
      await settle()
    }
  }
}

export function memoryStorage(schedule: (callback: () => void) => void = queueMicrotask): MemoryStorage {
  return createMemoryStorage({ schedule })
}

export function memoryStore(): StateStore {
  return createPageStore({ backend: memoryStorage().open(), maxMemtableBytes: 2 ** 40 })
}

/** A state machine, with commands without their boilerplate. */
export class Harness {
  readonly machine: StateMachine
  private seq = 0

  constructor(store: StateStore = memoryStore()) {
    this.machine = createStateMachine(store)
  }

  get index(): number {
    return this.machine.appliedIndex
  }

  apply<T extends Applied['type']>(command: Command): Extract<Applied, { type: T }> {
    return this.machine.apply(this.index + 1, 'normal', encodeCommand(command)) as Extract<Applied, { type: T }>
  }

  session(clientId = 'client'): number {
    return this.apply<'session-opened'>({ type: 'openSession', clientId, ttlMs: 10_000, at: 1 }).session
  }

  end(session: number): Extract<Applied, { type: 'session-ended' }> {
    return this.apply({ type: 'endSession', session, at: 1 })
  }

  open(session: number, path: string, options: Partial<Extract<Command, { type: 'open' }>> = {}) {
    const command: Command = {
      type: 'open',
      session,
      seq: ++this.seq,
      settled: 0,
      at: 5,
      path,
      create: true,
      exclusive: false,
      size: 10 * PAGE,
      pageSize: 0,
      unit: undefined,
      ...options
    }
    return this.apply<'opened' | 'failed'>(command)
  }

  /** Opens a file, and throws the error of a failure. Returns the id. */
  file(session: number, path = '/file', options: Partial<Extract<Command, { type: 'open' }>> = {}): number {
    const opened = this.open(session, path, options)
    if (opened.type === 'failed') throw opened.error
    return opened.stat.id
  }

  request(
    command:
      | { type: 'close'; session: number; file: number }
      | { type: 'extend'; session: number; file: number; size: number }
  ) {
    return this.apply<'closed' | 'extended' | 'failed'>({ ...command, seq: ++this.seq, settled: 0, at: 7 })
  }

  handover(file: number, page: number, from: number, fromEpoch: number, to: number, bytes?: Uint8Array, seq = 1) {
    const pages = [bytes && { seq, ranges: undefined, bytes }]
    return this.apply<'handover'>({ type: 'handover', file, page, from, fromEpoch, to, pages, at: 8 }).outcomes[0]!
  }

  /** Makes `session` the owner of an unowned page. Returns the epoch. */
  own(file: number, page: number, session: number): number {
    const { done } = this.handover(file, page, 0, this.machine.owner(file, page).epoch, session)
    const owner = this.machine.owner(file, page)
    if (!done) throw new Error(`not handed over: owned by ${owner.session}`)
    return owner.epoch
  }

  writeback(session: number, file: number, page: number, epoch: number, seq: number, bytes: Uint8Array) {
    return this.apply<'writeback'>({ type: 'writeback', session, at: 9, pages: [{ file, page, epoch, seq, bytes }] })
      .outcomes[0]
  }
}

export function filled(value: number, length = PAGE): Uint8Array {
  return new Uint8Array(length).fill(value)
}

/** Returns a log: entry 1 opens a session, entry 2 a file, and two more entries for each page acquire and write it. */
export function writebackLog(pages: number): CommittedEntry[] {
  const entries: CommittedEntry[] = []
  const add = (command: Command) => {
    entries.push({ index: entries.length + 1, term: 3, kind: 'normal', data: encodeCommand(command) })
  }
  const at = 1
  add({ type: 'openSession', clientId: 'c', ttlMs: 1, at })
  const size = 100_000 * PAGE
  add({
    type: 'open',
    session: 1,
    seq: 1,
    settled: 0,
    at,
    path: '/a',
    create: true,
    exclusive: false,
    size,
    pageSize: 0,
    unit: undefined
  })
  for (let page = 0; page < pages; page++) {
    add({ type: 'handover', file: 2, page, from: 0, fromEpoch: 0, to: 1, pages: [undefined], at })
    add({ type: 'writeback', session: 1, pages: [{ file: 2, page, epoch: 1, seq: 1, bytes: filled(page + 1) }], at })
  }
  return entries
}

/** Four numbers from which {@link entriesFrom} makes a command that suits the state at that point. */
export type Choice = readonly [kind: number, x: number, y: number, z: number]
export const choices = (maxLength: number): fc.Arbitrary<Choice[]> =>
  fc.array(fc.tuple(fc.nat(26), fc.nat(7), fc.nat(7), fc.nat(255)), { maxLength, size: 'max' })

// Three sessions, each of which maps two files.
const PRELUDE: readonly Choice[] = [
  ...[0, 1, 2].map((x): Choice => [0, x, 0, 0]),
  ...[0, 1, 2].flatMap((x): Choice[] => [0, 1].map((y) => [3, x, y, 254]))
]

/** Returns a possible log of a cluster: most commands have an effect, many repeat, and some are nonsense. */
export function entriesFrom(choices: readonly Choice[]): CommittedEntry[] {
  const list = [...PRELUDE, ...choices]
  const { machine } = new Harness()
  const entries: CommittedEntry[] = []
  const seqs = new Map<number, number>()
  for (const [at, choice] of list.entries()) {
    const index = at + 1
    const kind = choice[0] === 19 ? 'noop' : 'normal'
    const repeated = choice[0] === 18 ? entries[at - 1 - choice[1]] : undefined
    const data =
      kind === 'noop' ? new Uint8Array(0) : (repeated?.data ?? encodeCommand(commandFrom(machine, choice, index, seqs)))
    const entry: CommittedEntry = { index, term: 1, kind: repeated?.kind ?? kind, data }
    entries.push(entry)
    machine.apply(index, entry.kind, data)
  }
  return entries
}

function commandFrom(machine: StateMachine, [kind, x, y, z]: Choice, at: number, seqs: Map<number, number>): Command {
  const sessions = [...machine.sessions()].map(({ id }) => id)
  // Includes files without a path.
  const mapped = [...machine.sessions()].flatMap((each) => [...each.files])
  const files = [...new Set([...machine.list('', '', 100).map(({ id }) => id), ...mapped])]
  // The last choice names a session or file that does not exist.
  const session = x === 7 ? 1_000_000 : (sessions[x % Math.max(1, sessions.length)] ?? 1)
  const file = y === 7 ? 1_000_000 : (files[y % Math.max(1, files.length)] ?? 1)
  const seq = (seqs.get(session) ?? 0) + (z % 8 === 0 ? 0 : 1)
  const request = { session, seq, settled: Math.max(0, seq - (z % 4)), at }
  const page = z % 6
  const owner = machine.owner(file, page)
  const other = sessions[z % Math.max(1, sessions.length)] ?? 0
  if (kind <= 6 || kind === 17 || kind >= 20) seqs.set(session, seq)
  if (kind === 0) return { type: 'openSession', clientId: `client ${x}`, ttlMs: 1000 + y, at }
  if (kind === 2 && z % 4 < 2) return { type: z % 2 === 0 ? 'endSession' : 'expireSession', session, at }
  if (kind <= 4 || kind === 17) {
    const path = y === 6 ? 'relative' : `/dir/${y}`
    return {
      type: 'open',
      ...request,
      path,
      create: z % 5 > 0,
      exclusive: z % 7 === 0,
      size: z * 100,
      pageSize: z % 11 === 0 ? 8192 : 0,
      unit: z % 6 === 0 ? 'file' : undefined
    }
  }
  if (kind >= 20) return fileCommand(machine, [kind, x, y, z], request, file)
  if (kind === 5) return { type: 'close', ...request, file }
  if (kind === 6) return { type: 'extend', ...request, file, size: z * 150 }
  if (kind <= 12) {
    const diff = { ranges: [{ offset: 16 * y, length: 8 }], bytes: filled(at % 256, z % 16 === 3 ? 7 : 8) }
    const whole = { ranges: undefined, bytes: filled(z) }
    const isGiven = z % 3 === 0 && (owner.session !== 0 || z % 4 === 0)
    const given = isGiven ? { seq: z % 5, ...(x % 2 === 0 ? whole : diff) } : undefined
    // Up to three pages, which are often owned by others.
    const pages = z % 2 === 0 ? [given] : [given, undefined, given]
    return {
      type: 'handover',
      file,
      page,
      from: owner.session,
      fromEpoch: owner.epoch,
      to: other,
      pages,
      at
    }
  }
  const epoch = z % 9 === 0 ? owner.epoch + 1 : owner.epoch
  const diff = { ranges: [{ offset: 16 * y, length: 8 }], bytes: filled(at % 256, z % 16 === 2 ? 7 : 8) }
  const change = z % 4 === 2 ? diff : { bytes: filled(z % 5 === 0 ? 0 : at % 256) }
  const dirty = { file, page, epoch, seq: owner.seq + (z % 3), ...change }
  return {
    type: 'writeback',
    session: z % 10 === 0 ? session : owner.session,
    pages: [dirty, { ...dirty, page: page + 1 }],
    at
  }
}

function fileCommand(
  machine: StateMachine,
  [kind, x, y, z]: Choice,
  request: { session: number; seq: number; settled: number; at: number },
  file: number
): Command {
  if (kind === 22) return { type: 'rename', ...request, from: `/dir/${x}`, to: y === 7 ? '//' : `/dir/${y}` }
  if (kind === 23) return { type: 'unlink', ...request, path: `/dir/${y}` }
  if (kind === 25) {
    const pageSize = z % 11 === 0 ? 8192 : z % 13 === 0 ? 5000 : 0
    return { type: 'createUnnamed', ...request, size: z * 100, pageSize, unit: z % 6 === 0 ? 'file' : undefined }
  }
  if (kind === 26) {
    // Mostly for a file without a path that the session maps.
    const mapped = [...(machine.session(request.session)?.files ?? [])]
    const unnamed = mapped.filter((id) => machine.file(id)?.path === '')
    const candidates = z % 5 === 0 || unnamed.length === 0 ? mapped : unnamed
    const path = y === 7 ? 'relative' : `/dir/${y}`
    return { type: 'link', ...request, file: z % 7 === 0 ? file : (candidates[z % candidates.length] ?? file), path }
  }
  if (kind === 21) return { type: 'punch', ...request, file, first: z % 7, end: (z % 7) + (z % 3) }
  const size = z * 100
  const page = Math.floor(size / PAGE)
  const { epoch, seq } = machine.owner(file, page)
  const tail = { file, page, epoch, seq: seq + (z % 3), bytes: filled(request.at % 256) }
  return { type: 'truncate', ...request, file, size, tail: kind === 24 ? tail : undefined }
}
