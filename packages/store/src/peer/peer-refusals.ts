import {
  MAX_REASON_BYTES,
  NotAuthorizedError,
  clipText,
  errorFromWire,
  errorToWire,
  type Clock,
  type RaftStreamMessage,
  type RefusalReason
} from '@quire/protocol'
import type { Logger } from 'pino'
import { Refusals } from '../observability/refusals.js'
import type { PeerIdentity, IntroductionRefusal } from './identity.js'
import { Quarantine, type Quarantined } from './quarantine.js'

export interface PeerRefusalsInit {
  readonly identity: PeerIdentity
  readonly clock: Clock
  /** True if the peer is a member of the cluster now. */
  readonly isMember: (peerId: string) => boolean
  readonly logger: Logger | undefined
}

type RefusedMessage = Extract<RaftStreamMessage, { type: 'raftRefused' }>
type OwnKind = RefusalReason | 'difference' | 'configuration' | 'frame'
type Kind = OwnKind | `refused by it: ${RefusalReason}`

const REASONS: readonly RefusalReason[] = ['version', 'founding', 'membership', 'evidence', 'behind']
const OWN: readonly Kind[] = [...REASONS, 'difference', 'configuration', 'frame']
const BY_THE_REMOTE: readonly Kind[] = REASONS.map((reason) => `refused by it: ${reason}` as const)

/**
 * Reports refusals between peers, in both directions.
 *
 * It reports them to the remote, in the log and in the status.
 */
export class PeerRefusals {
  private readonly quarantine: Quarantine
  private readonly refusals: Refusals

  constructor(private readonly init: PeerRefusalsInit) {
    this.quarantine = new Quarantine(init.clock)
    this.refusals = new Refusals(init.logger, 'peer', init.clock)
  }

  get quarantined(): Quarantined[] {
    return this.quarantine.shown
  }

  /** Logs the refusal of a remote, and returns the message that tells the remote. */
  refuse(remote: string, { error, reason, founding }: IntroductionRefusal): RefusedMessage {
    if (reason === 'evidence') this.flag({ peerId: remote, refusesThisPeer: false, reason: reasonOf(error) })
    this.log(remote, reason, error)
    return { type: 'raftRefused', error: errorToWire(error), reason, founding }
  }

  /**
   * A member refuses this peer. Returns this peer's configuration in return, if the remote is one of its founding
   * voters: each side of a refusal shows its configuration to a voter of that configuration. Throws CodecError.
   */
  refusedBy(remote: string, { error, reason, founding }: RefusedMessage): RefusedMessage | undefined {
    const { identity } = this.init
    const words = reasonOf(errorFromWire(error))
    const difference = reason === 'founding' && founding !== undefined && this.foundedElsewhere(remote, founding)
    if (!difference) this.log(remote, `refused by it: ${reason}`, new NotAuthorizedError('this peer', words))
    if (reason === 'evidence') this.flag({ peerId: remote, refusesThisPeer: true, reason: words })
    const own = reason === 'founding' ? identity.foundingFor(remote) : undefined
    return own === undefined ? undefined : { type: 'raftRefused', error, reason, founding: own }
  }

  /**
   * A remote shows the configuration that it was founded from; the remote may be a stranger. Returns false if that
   * configuration does not concern this peer. Throws CodecError.
   */
  foundedElsewhere(remote: string, founding: Uint8Array): boolean {
    const difference = this.init.identity.describeDifference(remote, founding)
    if (difference !== undefined) this.log(remote, 'difference', difference)
    return difference !== undefined
  }

  /** The remote has sent a configuration of its cluster that this peer does not follow. */
  wrongConfiguration(remote: string, problem: string): void {
    this.log(remote, 'configuration', new NotAuthorizedError(remote, `the configuration that it sent ${problem}`))
  }

  /** The remote has sent bytes that do not decode as a message, or an unexpected message. */
  broken(remote: string, error: Error): void {
    this.log(remote, 'frame', error)
  }

  /** This peer accepts the remote, so its next refusal is logged again. The remote may still refuse this peer. */
  accepted(remote: string): void {
    this.quarantine.clear(remote, false)
    this.refusals.accepted(remote, OWN)
  }

  /** The remote has accepted this peer, so the remote's next refusal is logged again. */
  acceptedBy(remote: string): void {
    this.quarantine.clear(remote, true)
    this.refusals.accepted(remote, BY_THE_REMOTE)
  }

  /** The remote is no longer a member. */
  removed(remote: string): void {
    this.quarantine.clear(remote, false)
    this.quarantine.clear(remote, true)
  }

  private flag(member: Quarantined): void {
    if (this.init.isMember(member.peerId)) this.quarantine.flag(member)
  }

  private log(remote: string, kind: Kind, error: Error): void {
    const { identity, isMember: isMemberNow } = this.init
    const isMember = isMemberNow(remote) || identity.isFounder(remote)
    const about = isMember ? aboutOf(kind, error) : ''
    this.refusals.log({ remote, kind, about, error, isMember, level: isMember && isGrave(kind) ? 'error' : 'warn' })
  }
}

/** True if an operator must resolve the refusal, because waiting does not. */
function isGrave(kind: Kind): boolean {
  if (kind === 'behind' || kind === 'refused by it: behind') return false
  return kind === 'founding' || kind === 'difference' || kind === 'evidence' || kind.startsWith('refused by it')
}

/**
 * The subject of a member's refusal. An operator who resolves one difference must see the next one. Numbers in evidence
 * do not count, because they change while the cluster works, and neither does the content of a broken frame.
 */
function aboutOf(kind: Kind, error: Error): string {
  if (kind === 'frame') return ''
  return kind.endsWith('evidence') ? error.message.replaceAll(/\d+/g, '#') : error.message
}

function reasonOf(error: Error): string {
  const { reason } = error as { readonly reason?: unknown }
  return clipText(typeof reason === 'string' ? reason : error.message, MAX_REASON_BYTES)
}
