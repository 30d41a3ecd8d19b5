import {
  assert,
  decode,
  encode,
  isPageMessage,
  isRaftLinkMessage,
  raftMessage,
  type RaftMessage
} from '@quire/protocol'
import type { RandomSource } from '@quire/testing'
import type { Coverage } from '../coverage.js'
import type { Scheduler } from '../scheduler.js'
import { WORST_FACTOR } from './bounds.js'
import type { NetworkSettings } from './settings.js'

interface RaftNetworkInit {
  readonly scheduler: Scheduler
  readonly random: RandomSource
  readonly coverage: Coverage
  readonly settings: NetworkSettings
  readonly deliver: (from: string, to: string, message: RaftMessage, label: string) => void
}

/** One direction between two nodes. */
interface Link {
  readonly from: string
  readonly to: string
  /** Numbers of the faults that cut it. */
  readonly cutBy: Set<number>
  slowness: number
  lastArrival: number
  /** Labels by type of message. */
  readonly labels: Map<string, string>
}

const REORDERED_MS = 100
const SPIKE = 0.005

/**
 * Carries messages between simulated Raft nodes.
 *
 * Its links lose messages, as Raft's transport may. A partition drops what it stops.
 */
export class RaftNetwork {
  /** While true, messages are lost, duplicated, reordered and torn. */
  isNoisy = true
  private era = 0
  private readonly links = new Map<string, Map<string, Link>>()

  constructor(private readonly init: RaftNetworkInit) {}

  send(from: string, to: string, message: RaftMessage): void {
    const link = this.link(from, to)
    const { coverage, random, settings, scheduler } = this.init
    const { isNoisy } = this
    if (scheduler.hash.isOn) scheduler.hash.text(from).text(to).bytes(encode(raftMessage, message))
    if (link.cutBy.size > 0) return
    if (isNoisy && settings.loss > 0 && random.is(settings.loss)) {
      coverage.add('messages lost')
      return
    }
    this.travel(link, this.arriving(message))
    if (isNoisy && settings.duplication > 0 && random.is(settings.duplication)) {
      coverage.add('messages doubled')
      this.travel(link, this.arriving(message))
    }
  }

  /** Stops all messages from `from` to `to` until `mend` for this fault. */
  cut(from: string, to: string, fault: number): void {
    this.link(from, to).cutBy.add(fault)
  }

  mend(from: string, to: string, fault: number): void {
    this.link(from, to).cutBy.delete(fault)
  }

  slowDown(from: string, to: string, factor: number): void {
    this.link(from, to).slowness = factor
  }

  /** Makes all links perfect. Messages in flight are lost. */
  heal(): void {
    this.era++
    for (const links of this.links.values()) {
      for (const link of links.values()) {
        link.cutBy.clear()
        link.slowness = 1
        // Messages do not queue behind lost ones.
        link.lastArrival = 0
      }
    }
  }

  private link(from: string, to: string): Link {
    let links = this.links.get(from)
    if (links === undefined) this.links.set(from, (links = new Map<string, Link>()))
    let link = links.get(to)
    if (link === undefined) {
      link = { from, to, cutBy: new Set(), slowness: 1, lastArrival: 0, labels: new Map() }
      links.set(to, link)
    }
    return link
  }

  private travel(link: Link, message: RaftMessage): void {
    const { scheduler, random, settings } = this.init
    const spike = this.isNoisy && random.is(SPIKE) ? random.between(5, 120) : 0
    const drawnMs = random.exponential(settings.latencyMs)
    const latencyMs = this.isNoisy ? drawnMs : Math.min(drawnMs, WORST_FACTOR * settings.latencyMs)
    let at = scheduler.now + settings.roundTripMs / 2 + latencyMs * link.slowness + spike
    if (this.isNoisy && settings.reordering > 0 && random.is(settings.reordering)) {
      at += random.exponential(REORDERED_MS)
    } else if (settings.isOrdered) {
      at = Math.max(at, link.lastArrival)
      link.lastArrival = at
    }
    const label = labelOf(link, message.type)
    const { era } = this
    scheduler.at(at, label, () => {
      if (link.cutBy.size > 0 || era !== this.era) return
      scheduler.hash.text(link.from).text(link.to).number(message.term)
      this.init.deliver(link.from, link.to, message, label)
    })
  }

  /**
   * Returns the message that will arrive. Its bytes are encoded when it leaves, so its sender may reuse its buffers.
   */
  private arriving(message: RaftMessage): RaftMessage {
    const { settings, random, coverage } = this.init
    let arriving = message
    if (message.type === 'snapshot' && this.isNoisy && settings.tearing > 0 && random.is(settings.tearing)) {
      coverage.add('pieces torn')
      arriving = { ...message, data: tear(message.data, random) }
    }
    if (!settings.isEncoded) return arriving
    const decoded = decode(raftMessage, encode(raftMessage, arriving))
    assert(!isRaftLinkMessage(decoded) && !isPageMessage(decoded), `${decoded.type} is no message of Raft`)
    return decoded
  }
}

function labelOf(link: Link, type: string): string {
  let label = link.labels.get(type)
  if (label === undefined) link.labels.set(type, (label = `${link.from}>${link.to} ${type}`))
  return label
}

function tear(data: Uint8Array, random: RandomSource): Uint8Array {
  if (data.length > 1 && random.is(0.5)) return data.slice(0, random.int(0, data.length - 1))
  const torn = Uint8Array.from(data)
  if (torn.length > 0) torn[random.int(0, torn.length - 1)]! ^= 1 << random.int(0, 7)
  return torn
}
