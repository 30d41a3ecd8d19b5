/** The memory of the owner directory. */
import { MAX_RUN_PAGES } from '@quire/protocol'
import { Directory, createStateMachine, encodeCommand, type StateStore } from '@quire/store/internal'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { PAGE_BYTES } from './parties.js'

export interface DirectoryAsk {
  readonly pages: number
}

/** In bytes a page. */
export interface DirectoryAnswer {
  /** After a client has read all pages. */
  readonly read: number
  /** After that client has closed the file. */
  readonly gone: number
}

const TERM = 1

/** Measures what a leader keeps of pages that one client has read. It runs in this process, without a cluster. */
export function directoryMemory({ pages }: DirectoryAsk): DirectoryAnswer {
  const machine = createStateMachine(NO_PAGES)
  const at = 0
  let index = 0
  machine.apply(++index, 'noop', new Uint8Array())
  machine.apply(++index, 'normal', encodeCommand({ type: 'openSession', clientId: 'reader', ttlMs: 1000, at }))
  const session = index
  const request = { session, settled: 0, at }
  const options = { create: true, exclusive: false, size: pages * PAGE_BYTES, pageSize: PAGE_BYTES, unit: undefined }
  const directory = new Directory(TERM, machine)
  directory.connected(session)
  machine.apply(++index, 'normal', encodeCommand({ type: 'open', ...request, seq: 1, path: '/f', ...options }))
  const file = index
  const before = heapBytes()
  for (let page = 0; page < pages; page += MAX_RUN_PAGES) {
    const count = Math.min(MAX_RUN_PAGES, pages - page)
    directory.receive(session, { type: 'fault', req: page + 1, file, page, count, access: 'read', have: 0 })
    if (directory.effects().length !== count) throw new Error('a read was not granted')
  }
  const read = (heapBytes() - before) / pages
  const closed = machine.apply(++index, 'normal', encodeCommand({ type: 'close', ...request, seq: 2, file }))
  directory.applied(closed!)
  directory.effects()
  return { read, gone: Math.max(0, heapBytes() - before) / pages }
}

function heapBytes(): number {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  collect()
  return process.memoryUsage().heapUsed
}

/** A store in which all pages are holes. */
const NO_PAGES: StateStore = {
  read: () => undefined,
  version: () => 0,
  pages: () => [],
  write: () => {},
  lose: () => {},
  remove: () => {},
  put: () => {}
}
