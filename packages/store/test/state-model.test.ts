/** Compares the state machine with a model that keeps each file as one array of bytes and forgets nothing. */
import { MAX_FILE_BYTES, refusePath } from '@quire/protocol'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  createStateMachine,
  decodeCommand,
  type Applied,
  type Command,
  type CommandOf,
  type StateMachine,
  type Unflushed
} from '../src/state/index.js'
import { choices, entriesFrom, memoryStore, PAGE } from './state-helpers.js'

interface ModelOwner {
  session: number
  epoch: number
  seq: number
}

interface ModelFile {
  readonly id: number
  path: string | undefined
  /** The file has never had a path. */
  isUnnamed: boolean
  size: number
  readonly pageSize: number
  readonly isWhole: boolean
  discards: number
  /** The content up to the end of the last page. */
  bytes: Uint8Array
  readonly owners: Map<number, ModelOwner>
  readonly sessions: Set<number>
}

function isWrite(file: ModelFile, { ranges, bytes }: Unflushed): boolean {
  if (ranges === undefined) return bytes.length === file.pageSize
  return !file.isWhole && bytes.length === ranges.reduce((sum, { length }) => sum + length, 0)
}

function hasBase({ ranges, seq }: Unflushed, owner: ModelOwner): boolean {
  return ranges === undefined || seq <= owner.seq + 1
}

class Model {
  readonly files = new Map<number, ModelFile>()
  readonly sessions = new Set<number>()
  readonly answered = new Map<string, Applied>()
  /** The state machine chooses epochs. The model only requires that they rise. */
  constructor(private readonly epochOf: (file: number, page: number) => number) {}

  byPath(path: string): ModelFile | undefined {
    return [...this.files.values()].find((file) => file.path === path)
  }

  apply(index: number, command: Command, outcome: Applied): void {
    switch (command.type) {
      case 'compare':
        return
      case 'openSession':
        this.sessions.add(index)
        return
      case 'endSession':
      case 'expireSession':
        this.sessions.delete(command.session)
        for (const file of this.files.values()) this.leave(file, command.session)
        return
      case 'handover':
        return this.handover(command, outcome as Extract<Applied, { type: 'handover' }>)
      case 'writeback':
        return this.writeback(command, outcome as Extract<Applied, { type: 'writeback' }>)
      default:
        return this.request(index, command, outcome)
    }
  }

  private request(index: number, command: Extract<Command, { seq: number; settled: number }>, outcome: Applied): void {
    const key = `${command.session}:${command.seq}`
    const before = this.answered.get(key)
    const late = outcome.type === 'failed' && 'argument' in outcome.error && outcome.error.argument === 'seq'
    if (late || !this.sessions.has(command.session)) return expect(outcome.type).toBe('failed')
    if (before !== undefined) return expect(outcome).toEqual(before)
    this.answered.set(key, outcome)
    const done = this.perform(index, command)
    expect([command, outcome.type === 'failed'], JSON.stringify(outcome)).toEqual([command, !done])
  }

  /** Returns false if the state machine must refuse the command. */
  private perform(index: number, command: Extract<Command, { seq: number; settled: number }>): boolean {
    switch (command.type) {
      case 'open':
        return this.open(index, command)
      case 'close': {
        const file = this.files.get(command.file)
        if (file !== undefined) this.leave(file, command.session)
        return true
      }
      case 'rename': {
        const file = this.byPath(command.from)
        if (refusePath(command.from) !== undefined || refusePath(command.to) !== undefined || file === undefined)
          return false
        const target = this.byPath(command.to)
        if (target === file) return true
        file.path = command.to
        if (target !== undefined) target.path = undefined
        if (target !== undefined) this.removeIfUnused(target)
        return true
      }
      case 'unlink': {
        const file = this.byPath(command.path)
        if (file === undefined) return false
        file.path = undefined
        this.removeIfUnused(file)
        return true
      }
      case 'createUnnamed':
        if (![0, PAGE, 2 * PAGE].includes(command.pageSize)) return false
        return this.create(index, undefined, command)
      case 'link': {
        const file = this.files.get(command.file)
        if (refusePath(command.path) !== undefined || file?.sessions.has(command.session) !== true) return false
        if (file.path === command.path) return true
        if (!file.isUnnamed) return false
        const target = this.byPath(command.path)
        if (target !== undefined) target.path = undefined
        if (target !== undefined) this.removeIfUnused(target)
        file.path = command.path
        file.isUnnamed = false
        return true
      }
      case 'extend':
      case 'truncate':
      case 'punch': {
        const file = this.files.get(command.file)
        if (file?.sessions.has(command.session) !== true) return false
        if (command.type === 'punch') this.punch(file, command)
        else if (command.size > MAX_FILE_BYTES) return false
        else if (command.type === 'truncate') this.truncate(file, command)
        else if (command.size > file.size) this.resize(file, command.size)
        return true
      }
    }
  }

  private open(index: number, command: CommandOf<'open'>): boolean {
    const existing = this.byPath(command.path)
    if (refusePath(command.path) !== undefined) return false
    if (existing !== undefined) {
      if (command.create && command.exclusive) return false
      if (command.pageSize !== 0 && command.pageSize !== existing.pageSize) return false
      if (command.unit !== undefined && (command.unit === 'file') !== existing.isWhole) return false
      existing.sessions.add(command.session)
      return true
    }
    return command.create && this.create(index, command.path, command)
  }

  private create(index: number, path: string | undefined, command: CommandOf<'open' | 'createUnnamed'>): boolean {
    const file: ModelFile = {
      id: index,
      path,
      isUnnamed: path === undefined,
      size: 0,
      pageSize: command.pageSize === 0 ? PAGE : command.pageSize,
      isWhole: command.unit === 'file',
      discards: 0,
      bytes: new Uint8Array(0),
      owners: new Map(),
      sessions: new Set([command.session])
    }
    this.resize(file, command.size)
    this.files.set(index, file)
    return true
  }

  private truncate(file: ModelFile, { size, tail }: CommandOf<'truncate'>): void {
    const cut = Math.floor(size / file.pageSize)
    const owner = this.owner(file, cut)
    if (
      tail !== undefined &&
      size % file.pageSize > 0 &&
      tail.page === cut &&
      owner.session !== 0 &&
      owner.epoch === tail.epoch &&
      tail.seq > owner.seq &&
      tail.bytes.length === file.pageSize
    ) {
      this.write(file, cut, tail.bytes, Math.min(size, file.size))
    }
    if (size % file.pageSize > 0) this.release(file, cut, cut + 1)
    if (size < file.size) {
      file.discards++
      this.release(file, Math.ceil(size / file.pageSize), Infinity)
    }
    this.resize(file, size)
  }

  private punch(file: ModelFile, { first, end }: CommandOf<'punch'>): void {
    const last = Math.min(end, Math.ceil(file.size / file.pageSize))
    if (first >= last) return
    file.bytes.fill(0, first * file.pageSize, last * file.pageSize)
    file.discards++
    this.release(file, first, last)
  }

  private handover(command: CommandOf<'handover'>, outcome: Extract<Applied, { type: 'handover' }>): void {
    const file = this.files.get(command.file)
    for (const [i, given] of command.pages.entries()) {
      const done = file !== undefined && this.handOver(file, command, command.page + i, given)
      expect(outcome.outcomes[i]?.done).toBe(done)
    }
  }

  /** Returns whether the page is handed over. */
  private handOver(
    file: ModelFile,
    { from, fromEpoch, to }: CommandOf<'handover'>,
    page: number,
    given: CommandOf<'handover'>['pages'][number]
  ): boolean {
    const owner = this.owner(file, page)
    const done =
      page * file.pageSize < file.size &&
      owner.session === from &&
      owner.epoch === fromEpoch &&
      (to === 0 || file.sessions.has(to)) &&
      (given === undefined || (from !== 0 && isWrite(file, given) && hasBase(given, owner)))
    if (!done) return false
    if (given !== undefined && given.seq > owner.seq) this.write(file, page, this.whole(file, page, given))
    this.give(file, page, to)
    return true
  }

  private writeback(command: CommandOf<'writeback'>, outcome: Extract<Applied, { type: 'writeback' }>): void {
    for (const [i, write] of command.pages.entries()) {
      const { file: id, page, epoch, seq } = write
      const file = this.files.get(id)
      const owner = file === undefined ? undefined : this.owner(file, page)
      const taken =
        file !== undefined &&
        owner !== undefined &&
        command.session !== 0 &&
        page * file.pageSize < file.size &&
        owner.session === command.session &&
        owner.epoch === epoch &&
        isWrite(file, write)
      const lacksBase = taken && !hasBase(write, owner)
      expect(outcome.outcomes[i]?.result).toBe(lacksBase ? 'base' : taken ? 'stored' : 'stale')
      if (!taken || seq <= owner.seq || lacksBase) continue
      owner.seq = seq
      this.write(file, page, this.whole(file, page, write))
    }
  }

  /** The page as the write leaves it. */
  private whole(file: ModelFile, page: number, { ranges, bytes }: Unflushed): Uint8Array {
    const offset = page * file.pageSize
    const whole = ranges === undefined ? bytes : file.bytes.slice(offset, offset + file.pageSize)
    let from = 0
    for (const range of ranges ?? []) whole.set(bytes.subarray(from, (from += range.length)), range.offset)
    return whole
  }

  private owner(file: ModelFile, page: number): ModelOwner {
    const key = file.isWhole ? 0 : page
    let owner = file.owners.get(key)
    if (owner === undefined) {
      file.owners.set(key, (owner = { session: 0, epoch: 0, seq: 0 }))
    }
    return owner
  }

  private give(file: ModelFile, page: number, to: number): void {
    const owner = this.owner(file, page)
    const epoch = this.epochOf(file.id, page)
    expect(epoch).toBeGreaterThan(owner.epoch)
    Object.assign(owner, { session: to, epoch, seq: 0 })
  }

  private release(file: ModelFile, first: number, end: number): void {
    for (const [page, { session }] of file.owners) {
      const inRange = file.isWhole || (page >= first && page < end)
      if (inRange && session !== 0) this.give(file, page, 0)
    }
  }

  private leave(file: ModelFile, session: number): void {
    if (!file.sessions.delete(session)) return
    this.removeIfUnused(file)
    if (!this.files.has(file.id)) return
    for (const [page, owner] of file.owners) if (owner.session === session) this.give(file, page, 0)
  }

  private removeIfUnused(file: ModelFile): void {
    if (file.path === undefined && file.sessions.size === 0) this.files.delete(file.id)
  }

  private write(file: ModelFile, page: number, bytes: Uint8Array, end = file.size): void {
    const offset = page * file.pageSize
    // A truncate that grows the file may bring bytes of a page beyond the end, which then reads as zeros.
    if (offset >= file.bytes.length) return
    file.bytes.set(bytes, offset)
    file.bytes.fill(0, Math.max(offset, Math.min(end, offset + bytes.length)), offset + bytes.length)
  }

  private resize(file: ModelFile, size: number): void {
    const bytes = new Uint8Array(Math.ceil(size / file.pageSize) * file.pageSize)
    bytes.set(file.bytes.subarray(0, Math.min(size, file.size)))
    file.bytes = bytes
    file.size = size
  }
}

const ZEROS = new Uint8Array(2 * PAGE)
/** The random commands reach no page from this one on. */
const PAGES = 8

function pagesPastEnd({ size, pageSize }: ModelFile): number[] {
  const first = Math.ceil(size / pageSize)
  return Array.from({ length: Math.max(0, PAGES - first) }, (_, i) => first + i)
}

/** Returns the state of all files of the model, and of the removed files, according to the state machine. */
function stateOf(machine: StateMachine, model: Model, gone: ReadonlySet<number>): unknown[] {
  const files = [...model.files.values()].map((file) => {
    const { id, path } = file
    const { size, discards, pageSize, linked, path: firstPath } = machine.file(id) ?? {}
    return {
      file: { size, discards, pageSize, linked, isUnnamed: firstPath === '' },
      // No other session can reach an unnamed file, and it ends with its session.
      sessions: file.isUnnamed ? [...file.sessions].map((each) => machine.session(each)?.id !== undefined) : undefined,
      id: path === undefined ? undefined : machine.fileByPath(path)?.id,
      pastEnd: pagesPastEnd(file).map((page) => machine.version(id, page)),
      owners: [...file.owners.keys()].map((page) => {
        const { session, epoch, seq } = machine.owner(id, page)
        return { session, epoch, seq }
      })
    }
  })
  const paths = machine.list('', '', 100).map(({ path }) => path)
  return [files, paths, [...gone].map((id) => [machine.file(id), machine.version(id, 0)])]
}

/** Returns the same state according to the model. */
function stateOfModel(model: Model, gone: ReadonlySet<number>): unknown[] {
  const files = [...model.files.values()].map((file) => {
    const { id, path, size, discards, pageSize, isUnnamed } = file
    return {
      file: { size, discards, pageSize, linked: path !== undefined, isUnnamed },
      sessions: isUnnamed ? [true] : undefined,
      id: path === undefined ? undefined : id,
      pastEnd: pagesPastEnd(file).map(() => 0),
      owners: [...file.owners.values()].map((owner) => ({ ...owner }))
    }
  })
  const paths = [...model.files.values()].flatMap(({ path }) => path ?? []).sort()
  return [files, paths, [...gone].map(() => [undefined, 0])]
}

/** A truncate grows a file, and brings the owner's bytes of a page that the file did not have. */
const GROWS_WITH_LAST_BYTES: [number, number, number, number][] = [
  [3, 0, 2, 84],
  [0, 0, 0, 0],
  [7, 0, 5, 128],
  [17, 0, 3, 6],
  [24, 0, 6, 137]
]

describe('the state machine', () => {
  it('the state machine has the same files, bytes and owners as a simple model after any commands', () => {
    fc.assert(
      fc.property(choices(150), (list) => {
        const machine = createStateMachine(memoryStore())
        const model = new Model((file, page) => machine.owner(file, page).epoch)
        const gone = new Set<number>()
        for (const { index, kind, data } of entriesFrom(list)) {
          const outcome = machine.apply(index, kind, data)
          if (outcome === undefined || kind !== 'normal') continue
          const known = [...model.files.keys()]
          model.apply(index, decodeCommand(data).command, outcome)
          for (const id of known) if (!model.files.has(id)) gone.add(id)
          const [stored, expected] = [stateOf(machine, model, gone), stateOfModel(model, gone)]
          // One `expect` for each fact would take most of the time. This one only words a difference.
          if (!isDeepStrictEqual(stored, expected)) expect(stored, `after entry ${index}`).toEqual(expected)
          for (const { id, size, pageSize, bytes } of model.files.values()) {
            for (let page = 0; page * pageSize < size; page++) {
              const inStore = machine.page(id, page).bytes ?? ZEROS.subarray(0, pageSize)
              const inModel = bytes.subarray(page * pageSize, (page + 1) * pageSize)
              if (Buffer.compare(inStore, inModel) !== 0) expect.fail(`file ${id}, page ${page} after entry ${index}`)
            }
          }
        }
      }),
      { numRuns: 60, examples: [[GROWS_WITH_LAST_BYTES]] }
    )
  })
})
