import type { CallOptions, DsmFile, OpenOptions } from '@quire/dsm-client'
import { drawKind } from '../schedule.js'
import { Violation } from '../violation.js'
import type { ActingProgram, Handle } from './action-base.js'
import { ACTIONS, type Action } from './action-kinds.js'
import { act } from './actions.js'
import { ALLOWED_BY_FAULTS } from './allowed-errors.js'
import { makeFile } from './make-file.js'
import { PAGE_BYTES, SPOT_BYTES, SPOTS } from './page-layout.js'
import { PrivateUse } from './private-use.js'
import type { ProgramInit } from './program-types.js'

/** Pages behind the largest size of a file, for accesses beyond it. */
const SPARE_PAGES = 2
/** The last attempts fail as the first did, if the file was given up and only the cluster's answer is missing. */
const MAX_ATTEMPTS = 8
/** How often a program waits anew for a file that others use. */
const MAX_TRIES = 8
const WATCHING: readonly Action[] = ['read', 'read', 'tryRead']

/**
 * Runs random actions on a few files, one after the other, until it must stop.
 *
 * At the end of a seed, everything that it does must succeed.
 */
export class Program implements ActingProgram {
  /** The action that it waits for, if any. */
  doing: string | undefined
  /** It may hold pins, and make others wait as long as a call may take. */
  isPlaying = true
  private readonly handles = new Map<string, Handle>()

  constructor(readonly init: ProgramInit) {}

  async run(): Promise<void> {
    const { random, settings, isStopping } = this.init
    // A program that only reads its copies goes on when its client is cut off, and after its lease has ended.
    const isWatcher = random.fork('watcher').is(0.15)
    const naming = random.fork('naming')
    while (!isStopping()) {
      if (!isWatcher && naming.is(settings.naming)) await this.attempt('makeFile', () => makeFile(this))
      const action = isWatcher ? random.pick(WATCHING) : drawKind(ACTIONS, settings.weights, random)
      const path = isWatcher ? this.paths[0]! : random.pick(this.paths)
      await this.attempt(action, async () => act(action, this, await this.open(path)))
      await this.sleep(random.exponential(settings.pauseMs))
    }
    this.isPlaying = false
    while (!this.init.isQuiescent()) await this.sleep(20)
    for (const handle of this.handles.values()) await this.useOnceMore(handle)
    // Nothing may be open at the end. A flush that fails at first can succeed later.
    for (let attempts = 0; this.handles.size > 0 && attempts < MAX_ATTEMPTS; attempts++) {
      for (const handle of [...this.handles.values()]) await this.attempt('close', () => this.close(handle, {}))
    }
  }

  get paths(): string[] {
    const { paths, wholePaths } = this.init.settings
    return [
      ...Array.from({ length: paths }, (_, i) => `/page-${i}`),
      ...Array.from({ length: wholePaths }, (_, i) => `/whole-${i}`)
    ]
  }

  async attempt(action: string, run: () => Promise<void>): Promise<void> {
    const { coverage, settings } = this.init
    this.doing = action
    try {
      await run()
      coverage.add(`ok: ${action}`)
      coverage.add('client operations')
    } catch (error) {
      const { name } = error as Error
      if (!settings.allowedErrors.has(name)) throw this.unexpected(action, error as Error)
      coverage.add(`${name}: ${action}`)
      coverage.add(name)
      this.init.history.failed(name)
      if (name === 'SessionExpiredError') this.dropDead()
      // A close has given the file up, although the cluster's answer did not come in time.
      if (name === 'ClosedError') for (const handle of this.handles.values()) handle.isSpent = true
      if (name !== 'PastEndError') await this.sleep(20)
    }
    this.doing = undefined
  }

  private unexpected(action: string, error: Error): Error {
    if (!ALLOWED_BY_FAULTS.has(error.name)) return error
    return new Violation('no call waits in vain', `${this.init.name}, ${action}: ${String(error)}`)
  }

  /** Called once faults have stopped and their effects are over: no open file may be stuck. */
  private async useOnceMore({ file, mapping, session, isSpent, id }: Handle): Promise<void> {
    const { client, history, locks, invariants, name } = this.init
    if (isSpent || session !== client.session.id || client.session.state !== 'active') return
    this.doing = 'a last use'
    try {
      for (let page = 0; page * PAGE_BYTES + SPOT_BYTES <= invariants.sizeOf(id); page++) {
        // Another program may be at its last action, with a pin.
        await locks.write(file.id, this.pause, () =>
          untilFree(() => mapping.write(page * PAGE_BYTES, history.nextValue(SPOT_BYTES)))
        )
      }
      await file.sync()
    } catch (error) {
      // Another program's last action has shortened it meanwhile.
      if ((error as Error).name === 'PastEndError') return
      // It was given up, as a whole, in the middle of its last close.
      if ((error as Error).name === 'ClosedError' && (await isClosed(file))) return
      throw new Violation('nobody is stuck when faults stop', `${name}, file ${id}: ${String(error)}`)
    }
  }

  /** Forgets files that were opened in a session that is over. */
  private dropDead(): void {
    const { id, state } = this.init.client.session
    for (const [path, { session }] of this.handles) {
      if (session !== id || state === 'expired') this.handles.delete(path)
    }
  }

  // ---- files

  async open(path: string, options: OpenOptions = {}): Promise<Handle> {
    const { client, settings } = this.init
    const existing = this.handles.get(path)
    if (existing?.isSpent === true) await this.close(existing, {})
    else if (existing !== undefined) return existing
    const isWhole = path.startsWith('/whole')
    const base = { create: true, size: settings.bytes, unit: isWhole ? 'file' : 'page', ...options } as const
    return this.opened(await client.open(path, base), path, isWhole)
  }

  /** Creates a file without a path. It is listed among the open files under a name of its own. */
  async create(isWhole: boolean): Promise<Handle> {
    const { client, settings } = this.init
    const base = { size: settings.bytes, unit: isWhole ? 'file' : 'page', ...this.options() } as const
    const file = await client.createUnnamed(base)
    return this.opened(file, `unnamed ${file.id}`, isWhole)
  }

  private async opened(file: DsmFile, path: string, isWhole: boolean): Promise<Handle> {
    const { client, settings } = this.init
    const session = client.session.id
    const mapping = await file.mmap({ length: (settings.maxPages + SPARE_PAGES) * PAGE_BYTES })
    const direct = this.init.mapped?.directMapping(mapping, session)
    const handle = {
      file,
      mapping,
      direct,
      path,
      id: Number(file.id),
      session,
      isWhole,
      private: undefined,
      isSpent: false
    }
    this.handles.set(path, handle)
    return handle
  }

  /** The client records the truncation, of the file that the path then leads to, unless it is killed before that. */
  async openAnew(path: string): Promise<void> {
    const { log, client, invariants } = this.init
    const files = (): string[] => [...invariants.files.keys()].map(String)
    const intent = { process: client.session.id, file: '', offset: 0, length: 0, op: 'truncate' } as const
    const end = log.begin(intent, files)
    try {
      await this.open(path, { truncate: true, ...this.options() })
    } finally {
      end()
    }
  }

  async close(handle: Handle, options: CallOptions): Promise<void> {
    // If this fails, the file stays open.
    await handle.file.close(options)
    if (this.handles.get(handle.path) === handle) this.handles.delete(handle.path)
  }

  /** Returns the private mapping of the program. */
  async privately(handle: Handle): Promise<PrivateUse> {
    const { settings } = this.init
    handle.private ??= new PrivateUse(
      this.init,
      handle,
      await handle.file.mmap({ length: (settings.maxPages + SPARE_PAGES) * PAGE_BYTES, flags: 'private' })
    )
    return handle.private
  }

  // ---- time

  /** Waits before it looks again whether it may do something. */
  readonly pause = (): Promise<void> => this.sleep(this.init.settings.lockPauseMs)

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.init.clock.schedule(ms, resolve)
    })
  }

  /** Aborts some calls. */
  options(): CallOptions {
    const { random, settings, clock, coverage } = this.init
    if (!random.is(settings.aborts)) return {}
    const controller = new AbortController()
    clock.schedule(random.exponential(10), () => controller.abort())
    coverage.add('calls with a signal')
    return { signal: controller.signal }
  }

  // ---- the end: everything must succeed

  /** Writes to and reads from every page. */
  async visitAll(): Promise<void> {
    for (const path of this.paths) {
      const handle = await this.open(path)
      await handle.file.stat()
      const pages = Math.ceil(this.init.invariants.sizeOf(handle.id) / PAGE_BYTES)
      for (let page = 0; page < pages; page++) {
        const [offset, length] = [page * PAGE_BYTES + SPOTS[1], 4]
        if (offset + length > this.init.invariants.sizeOf(handle.id)) continue
        await handle.mapping.write(offset, this.init.history.nextValue(length))
        await handle.mapping.read(offset, length)
      }
    }
  }

  async readAll(): Promise<{ file: number; page: number; bytes: Uint8Array }[]> {
    const found: { file: number; page: number; bytes: Uint8Array }[] = []
    for (const { file, id } of this.handles.values()) {
      const size = this.init.invariants.sizeOf(id)
      for (let page = 0; page < size / PAGE_BYTES; page++) {
        found.push({ file: id, page, bytes: await file.read(page * PAGE_BYTES, PAGE_BYTES) })
      }
    }
    return found
  }

  /** Flushes all open files, and returns the checksums of what is stored, by the files' ids. */
  async checksums(): Promise<Map<number, number>> {
    const found = new Map<number, number>()
    for (const { file, id } of this.handles.values()) {
      await file.sync()
      found.set(id, await file.checksum(0, this.init.invariants.sizeOf(id)))
    }
    return found
  }

  async closeAll(): Promise<void> {
    for (const handle of [...this.handles.values()]) await this.close(handle, {})
  }

  /** Checks the remaining private copies, now that everything is at rest. */
  async checkPrivate(): Promise<void> {
    for (const handle of this.handles.values()) await handle.private?.checkAtRest()
  }

  /** Makes private copies of pages, some of which later discards remove. */
  async makePrivate(): Promise<void> {
    for (const path of this.paths) {
      const handle = await this.open(path)
      const own = await this.privately(handle)
      const pages = Math.floor(this.init.invariants.sizeOf(handle.id) / PAGE_BYTES)
      // Only the last pages, which will be discarded, so that there is room for others.
      for (let page = Math.max(0, pages - 3); page < pages; page++) await own.write(page, SPOTS[0], {})
    }
  }

  /** Discards about half of every file's pages, by truncation or by a hole. */
  async halve(): Promise<void> {
    for (const path of this.paths) {
      const { file, id } = await this.open(path)
      const pages = Math.ceil(this.init.invariants.sizeOf(id) / PAGE_BYTES)
      const half = Math.floor(pages / 2)
      if (this.init.random.is(0.5)) await file.truncate(half * PAGE_BYTES)
      else await file.punchHole(half * PAGE_BYTES, (pages - half) * PAGE_BYTES)
    }
  }
}

async function isClosed(file: DsmFile): Promise<boolean> {
  try {
    await file.read(0, 0)
    return false
  } catch (error) {
    return (error as Error).name === 'ClosedError'
  }
}

/**
 * Repeats a call whose file others do not release in time. All clients use a file once more at the same moment, and
 * with small credit and slow commits their turns may take longer than the patience of one call.
 */
async function untilFree<T>(call: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await call()
    } catch (error) {
      if ((error as Error).name !== 'BusyError' || tries === MAX_TRIES) throw error
    }
  }
}
