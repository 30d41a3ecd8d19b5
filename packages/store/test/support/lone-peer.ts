/** A peer that is its own majority. */
import type { MemoryDisk } from '@quire/raft'
import type { MemoryStorage } from '../../src/pages/index.js'
import type { PeerCore } from '../../src/peer/peer-core.js'
import { encodeCommand } from '../../src/state/commands.js'
import { PeerCluster, type PeerClusterInit } from './peer-cluster.js'

export const LONE = '12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp'

export class LonePeer extends PeerCluster {
  constructor(init: PeerClusterInit = {}) {
    super([LONE], init)
  }

  get core(): PeerCore {
    return this.peers[0]!.core
  }

  get disk(): MemoryDisk {
    return this.peers[0]!.disk
  }

  get pages(): MemoryStorage {
    return this.peers[0]!.pages
  }

  get fatal(): readonly Error[] {
    return this.peers[0]!.fatal
  }

  /** Proposes `count` entries that each add a record to what is stored. */
  openSessions(count: number): void {
    for (let i = 0; i < count; i++) {
      this.core.root.node!.propose(
        encodeCommand({ type: 'openSession', clientId: `client-${i}`, ttlMs: 600_000, at: 0 })
      )
    }
  }

  /** Proposes a session that creates `count` empty files, which stay when the server ends it. */
  createFiles(count: number): void {
    const node = this.core.root.node!
    const opening = encodeCommand({ type: 'openSession', clientId: 'creator', ttlMs: 600_000, at: 0 })
    const { index: session } = node.propose(opening)
    const file = { create: true, exclusive: true, size: 0, pageSize: 0, unit: undefined }
    for (let seq = 1; seq <= count; seq++) {
      node.propose(
        encodeCommand({ type: 'open', session, seq, settled: seq, at: 0, path: `/${session}-${seq}`, ...file })
      )
    }
  }
}
