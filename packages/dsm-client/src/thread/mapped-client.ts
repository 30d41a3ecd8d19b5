/** A client whose pages are mapped for the thread on which it runs: for tests without a second thread. */
import { assert } from '@quire/protocol'
import { createClientOn } from '../api/create-client.js'
import { addressSpaceOf } from '../api/file.js'
import { resolveSettings } from '../api/settings.js'
import { DirectAccess } from '../core/direct-access.js'
import { SharedFrames } from '../core/shared-frames.js'
import { SharedTableArrays } from '../core/shared-page-table.js'
import { Recorder } from '../history.js'
import type { ClientComponents } from '../session/session.js'
import type { DsmClient, DsmClientInit, Mapping } from '../types.js'
import { DirectMapping } from './direct-mapping.js'

export interface MappedClient {
  readonly client: DsmClient
  readonly direct: DirectAccess
  /** Returns what the program does by itself with a shared mapping that was opened in `session`. */
  directMapping(mapping: Mapping, session: string): DirectMapping
}

/** As `createDsmClientOn`. */
export async function createMappedClientOn(components: ClientComponents, init: DsmClientInit): Promise<MappedClient> {
  const settings = resolveSettings(init)
  const slabs = new Map<number, Uint8Array>()
  const frames = new SharedFrames({
    cacheBytes: settings.cacheBytes,
    // The only thread is inside no page while it changes the table.
    sleep: () => assert(false, 'a page is busy without another thread'),
    onSlab: (number, memory) =>
      memory === undefined ? slabs.delete(number) : slabs.set(number, new Uint8Array(memory))
  })
  const client = await createClientOn(components, init, frames)
  const now = (): number => components.clock.now()
  const table = new SharedTableArrays(frames.table.memory)
  const direct = new DirectAccess({ table, slab: (number) => slabs.get(number), now })
  return {
    client,
    direct,
    directMapping({ file, offset }, session) {
      const recorder = new Recorder({ client: client.peerId, process: () => session, now, emit: settings.history })
      const space = addressSpaceOf(file)
      return new DirectMapping({ direct, recorder, space, file: Number(file.id), pageSize: file.pageSize, offset, now })
    }
  }
}
