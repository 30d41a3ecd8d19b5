import { PROTOCOL_RAFT, decodeFrame, leaderMessage } from '@quire/protocol'
import type { Applied } from '@quire/store/internal'
import type { Coverage } from '../coverage.js'
import { Violation } from '../violation.js'
import { nameOf } from './ids.js'
import type { SimPeer } from './peers.js'

interface AccessInvariantsInit {
  readonly peers: readonly SimPeer[]
  readonly coverage: Coverage
}

/** Checks that a peer serves no client that it knows to be denied (docs/membership.md, Changes). */
export class AccessInvariants {
  /** The client of each session. */
  private readonly clients = new Map<number, string>()

  constructor(private readonly init: AccessInvariantsInit) {}

  /** A denied client hears nothing but that it is refused, so its lease is not renewed. */
  sent(from: string, to: string, protocol: string, frame: Uint8Array): void {
    if (protocol === PROTOCOL_RAFT || !this.denied(from).includes(to)) return
    const { message } = decodeFrame(leaderMessage, frame)
    if (message.type === 'refused') return this.init.coverage.add('denied clients refused')
    throw new Violation('a denied client is not served', `${nameOf(from)} sends ${nameOf(to)} ${message.type}`)
  }

  /** A peer is the first to apply an entry. Counts sessions that end while their client is denied. */
  applied(peer: SimPeer, applied: Applied): void {
    if (applied.type === 'session-opened') {
      const { clientId = '' } = peer.core!.root.replica.applier.state.session(applied.session) ?? {}
      this.clients.set(applied.session, clientId)
    } else if (applied.type === 'session-ended' && applied.existed) {
      const clientId = this.clients.get(applied.session) ?? ''
      if (this.denied(peer.id).includes(clientId)) this.init.coverage.add('sessions ended by denial')
    }
  }

  private denied(peerId: string): readonly string[] {
    return this.init.peers.find(({ id }) => id === peerId)?.core?.config.denied ?? []
  }
}
