import type { RaftMessage } from '@quire/protocol'
import { formatMessage } from './golden-format.js'

export interface Packet {
  readonly from: string
  readonly to: string
  readonly message: RaftMessage
}

/** Selects messages under way: by link (`a>b`, `a>`, `>b` or `all`), by type, at most so many, the last ones first. */
export interface Selector {
  readonly from: string | undefined
  readonly to: string | undefined
  readonly type: string | undefined
  readonly count: number
  readonly last: boolean
}

/**
 * Holds the messages under way, oldest first.
 *
 * The script makes them arrive, vanish, duplicate or wait.
 */
export class GoldenNetwork {
  private queue: Packet[] = []
  private held: Packet[] = []
  private readonly cutLinks = new Set<string>()

  /** Returns false if the link is cut. */
  send(packet: Packet): boolean {
    if (this.cutLinks.has(link(packet))) return false
    this.queue.push(packet)
    return true
  }

  /** Takes the selected messages out of the queue. */
  take(selector: Selector): Packet[] {
    const matching = this.queue.filter((packet) => matches(packet, selector))
    if (selector.last) matching.reverse()
    const taken = new Set(matching.slice(0, selector.count))
    this.queue = this.queue.filter((packet) => !taken.has(packet))
    return [...taken]
  }

  takeFirst(between: readonly string[]): Packet | undefined {
    const index = this.queue.findIndex(({ from, to }) => between.includes(from) && between.includes(to))
    return index < 0 ? undefined : this.queue.splice(index, 1)[0]
  }

  duplicate(selector: Selector): Packet[] {
    const copies = this.queue
      .filter((packet) => matches(packet, selector))
      .slice(0, selector.count)
      .map((packet) => ({ ...packet }))
    this.queue.push(...copies)
    return copies
  }

  /** Keeps the selected messages back until `release`. */
  hold(selector: Selector): Packet[] {
    const taken = this.take(selector)
    this.held.push(...taken)
    return taken
  }

  release(): Packet[] {
    const released = this.held.splice(0)
    this.queue.push(...released)
    return released
  }

  /** Cuts `a>b` in one direction, or all links of node `a`. Messages under way there are lost as well. */
  cut(what: string, nodes: readonly string[]): void {
    const links = what.includes('>') ? [what] : nodes.flatMap((other) => [`${what}>${other}`, `${other}>${what}`])
    for (const each of links) this.cutLinks.add(each)
    this.queue = this.queue.filter((packet) => !links.includes(link(packet)))
  }

  heal(): void {
    this.cutLinks.clear()
  }

  list(): string[] {
    const held = this.held.map((packet) => `${formatPacket(packet)} (held)`)
    return [...this.queue.map(formatPacket), ...held]
  }
}

export function formatPacket(packet: Packet): string {
  return `${link(packet)} ${formatMessage(packet.message)}`
}

function link({ from, to }: Packet): string {
  return `${from}>${to}`
}

function matches({ from, to, message }: Packet, selector: Selector): boolean {
  return (
    (selector.from === undefined || selector.from === from) &&
    (selector.to === undefined || selector.to === to) &&
    (selector.type === undefined || selector.type === message.type)
  )
}
