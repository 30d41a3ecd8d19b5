import { PROTOCOL_RAFT, decodeFrame, raftMessage } from '@quire/protocol'
import type { Coverage } from '../coverage.js'
import { Violation } from '../violation.js'
import { nameOf } from './ids.js'
import type { SimPeer } from './peers.js'

interface ScrubInvariantsInit {
  readonly peers: readonly SimPeer[]
  readonly coverage: Coverage
}

const COMPARED_TAG = 30

/**
 * Checks the comparisons of states (docs/storage.md, Scrub and comparison).
 *
 * Peers are correct here, and a peer with damaged rows tells no hash. So all hashes after the same entry are equal.
 */
export class ScrubInvariants {
  /** The hash that any peer has told, by the index of the entry. */
  private readonly hashes = new Map<number, string>()
  /** The last entry whose comparison a peer has found equal. */
  private lastEqual = 0
  /** A report was sent or has arrived since the last check. */
  private isTouched = false

  constructor(private readonly init: ScrubInvariantsInit) {}

  sent(from: string, protocol: string, frame: Uint8Array): void {
    // The tag follows the group and the trace, which take a byte each.
    if (protocol !== PROTOCOL_RAFT || frame[2] !== COMPARED_TAG) return
    this.isTouched = true
    const { message } = decodeFrame(raftMessage, frame)
    if (message.type !== 'raftCompared') return
    const { index, hash } = message
    if (hash === '') return this.init.coverage.add('reports of incomplete comparisons')
    const known = this.hashes.get(index) ?? hash
    if (known !== hash) {
      const facts = `${nameOf(from)} tells another hash of the state after entry ${index} than others`
      throw new Violation('peers that have applied the same entries store the same state', facts)
    }
    this.hashes.set(index, hash)
  }

  delivered(protocol: string, frame: Uint8Array): void {
    if (protocol === PROTOCOL_RAFT && frame[2] === COMPARED_TAG) this.isTouched = true
  }

  /** Call it after each event. */
  check(): void {
    if (!this.isTouched) return
    this.isTouched = false
    for (const { core } of this.init.peers) {
      const { comparison } = core?.root.scrubbing.status() ?? {}
      if (comparison?.outcome !== 'equal' || comparison.index <= this.lastEqual) continue
      this.lastEqual = comparison.index
      this.init.coverage.add('comparisons that all voters completed')
    }
  }
}
