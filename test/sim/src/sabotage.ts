/** Broken parts, each with one rule taken out: a simulator that does not notice them is worth nothing. */
import type { Disk, DiskFile } from '@quire/raft'
import { createDirectory, type Directory, type StateView } from '@quire/store/peer-core'

/** A disk that says that a write is durable when it has only heard of it. */
export function lyingDisk(disk: Disk): Disk {
  const lie = (file: DiskFile): DiskFile => ({
    bytes: file.bytes,
    read: (offset, length) => file.read(offset, length),
    close: () => file.close(),
    write: (offset, data) => {
      void file.write(offset, data)
      return Promise.resolve()
    }
  })
  return {
    list: () => disk.list(),
    create: async (name, bytes) => lie(await disk.create(name, bytes)),
    open: async (name) => lie(await disk.open(name)),
    rename: (from, to) => disk.rename(from, to),
    remove: (name) => disk.remove(name),
    flushDirectory: () => disk.flushDirectory()
  }
}

/** A directory that takes an invalidation for acknowledged without sending it. */
export function forgetfulDirectory(view: StateView): Directory {
  const real = createDirectory(view)
  return wrap(real, (effect) => {
    if (effect.type !== 'send' || effect.message.type !== 'invalidate') return true
    const { op, file, page } = effect.message
    real.receive(effect.session, { type: 'invalidateAck', op, file, page })
    return false
  })
}

/** A directory that takes an owner for clean: what it has written is handed over without. */
export function carelessDirectory(view: StateView): Directory {
  const real = createDirectory(view)
  return {
    ...wrap(real, () => true),
    receive: (session, message) => {
      if (message.type !== 'ownerAckDirty') return real.receive(session, message)
      const { op, dirty } = message
      real.receive(session, { type: 'ownerAck', op, file: dirty.file, page: dirty.page, held: true })
    }
  }
}

/** A directory that believes in a lower term's copies: it grants writes before its clients have learnt the new term. */
export function hastyDirectory(view: StateView): Directory {
  // Without sessions at the election, nobody has to acknowledge and nobody is taken to hold a copy.
  let isElecting = false
  const blind: StateView = new Proxy(view, {
    get: (target, name) => {
      if (name === 'sessions' && isElecting) return () => []
      const value: unknown = Reflect.get(target, name)
      return typeof value === 'function' ? (value.bind(target) as unknown) : value
    }
  })
  const real = createDirectory(blind)
  return {
    ...wrap(real, () => true),
    elected: (term) => {
      isElecting = true
      real.elected(term)
      isElecting = false
    }
  }
}

function wrap(real: Directory, keep: (effect: ReturnType<Directory['effects']>[number]) => boolean): Directory {
  return {
    elected: (term) => real.elected(term),
    deposed: () => real.deposed(),
    connected: (session) => real.connected(session),
    disconnected: (session) => real.disconnected(session),
    receive: (session, message) => real.receive(session, message),
    discard: (session, request) => real.discard(session, request),
    isDiscarding: (file) => real.isDiscarding(file),
    applied: (outcome) => real.applied(outcome),
    effects: () => {
      const kept: ReturnType<Directory['effects']> = []
      // What an effect that is not kept sets off comes out here, too.
      for (let effects = real.effects(); effects.length > 0; effects = real.effects()) {
        kept.push(...effects.filter((effect) => keep(effect)))
      }
      return kept
    },
    stats: () => real.stats()
  }
}
