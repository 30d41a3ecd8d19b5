import {
  PROTOCOL_BULK,
  PROTOCOL_CONTROL,
  PROTOCOL_RAFT,
  clientMessage,
  decodeFrame,
  leaderMessage,
  raftMessage,
  type ClientMessage,
  type ClientMessageOf,
  type LeaderMessage,
  type LeaderMessageOf
} from '@quire/protocol'
import type { ClientView } from '@quire/dsm-client/internal'
import type { Coverage } from '../coverage.js'
import type { SimClient } from './clients.js'
import { nameOf } from './ids.js'
import type { PageInvariants } from './page-invariants.js'
import { RunTraffic } from './run-traffic.js'

interface TrafficInit {
  readonly clients: readonly SimClient[]
  readonly coverage: Coverage
  readonly pages: PageInvariants
  readonly trace: ((line: string) => void) | undefined
}

type Order = LeaderMessageOf<'invalidate' | 'revoke' | 'downgrade'>

const MAX_PAGES = 64
const SNAPSHOT_REPLY_TAG = 20
const GRANT_TAG = 20

/**
 * Watches all frames.
 *
 * It prints them to the trace and counts rare cases.
 */
export class Traffic {
  private readonly runs: RunTraffic

  constructor(private readonly init: TrafficInit) {
    this.runs = new RunTraffic(init.coverage)
  }

  /** A frame arrives, and its receiver has not seen it yet. */
  delivered(from: string, to: string, protocol: string, frame: Uint8Array): void {
    const isClients = protocol === PROTOCOL_CONTROL || protocol === PROTOCOL_BULK
    if (this.init.trace !== undefined) this.trace(from, to, frame, isClients)
    // Group 0 and trace 0 take a byte each. The message's tag follows.
    const tag = frame[2]!
    if (protocol === PROTOCOL_RAFT && tag === SNAPSHOT_REPLY_TAG) {
      const { message } = decodeFrame(raftMessage, frame)
      if (message.type === 'snapshotReply' && message.refused) this.init.coverage.add('snapshots refused')
    }
    if (!isClients) return
    const isToPeer = nameOf(to).startsWith('peer')
    if (!isToPeer && tag === GRANT_TAG) {
      const { message } = decodeFrame(leaderMessage, frame)
      if (message.type === 'grant') this.runs.grant(to, message)
    }
    if (protocol !== PROTOCOL_CONTROL) return
    if (isToPeer) {
      // Only a register, a fault, an owner's answer and dropped copies count.
      if (tag === 2 || tag === 20 || tag === 22 || tag === 27)
        this.fromClient(from, decodeFrame(clientMessage, frame).message)
      return
    }
    if (tag !== 5 && (tag < 22 || tag > 28)) return
    const view = this.init.clients.find(({ id }) => id === to)?.view()
    if (view !== undefined) this.toClient(view, decodeFrame(leaderMessage, frame).message)
  }

  private fromClient(client: string, message: ClientMessage): void {
    const { coverage, pages } = this.init
    if (message.type === 'fault') this.runs.fault(client, message)
    if (message.type === 'register' && message.session !== 0) coverage.add('reconnects')
    if (message.type === 'dropped') coverage.add('dropped copies told', pagesOf(message))
    if (message.type === 'ownerAck' && message.held && pages.files.get(message.file)?.isWhole === true) {
      coverage.add('whole-file handovers')
    }
  }

  private toClient(view: ClientView, message: LeaderMessage): void {
    const { coverage } = this.init
    switch (message.type) {
      case 'registered':
        for (const { discard } of view.spaces)
          if (discard !== undefined) coverage.add('discards across a new connection')
        return
      case 'invalidate':
      case 'revoke':
      case 'downgrade':
        return this.order(view, message)
      case 'discard':
        return this.discard(view, message)
      case 'writebackAck':
        if (message.req === 0 && message.pages.some(({ result }) => result === 'base')) {
          coverage.add('orders repeated for a whole page')
        }
        return
      case 'discarded':
        if (message.committed) this.discarded(view, message)
        break
      default:
    }
  }

  /** Counts orders that meet something under way at the client. */
  private order(view: ClientView, order: Order): void {
    const { coverage } = this.init
    const { type, file, page: first, count, after: firstAfter } = order
    this.runs.order(order)
    for (const page of view.pages) {
      const i = page.index - first
      if (page.file !== file || i < 0 || i >= count) continue
      const after = firstAfter === 0 ? 0 : firstAfter + i
      if (page.req !== 0 && page.req === after) coverage.add('orders held back for a grant')
      else if (page.req !== 0) coverage.add(`${type}s that crossed a fault`)
      if (page.writing) coverage.add(`${type}s that crossed a writeback`)
      if (page.pinned) coverage.add(`${type}s that met a pin`)
      if (type === 'downgrade' && page.dirty) coverage.add('downgrades with dirty bytes')
      if (type === 'revoke' && page.dirty) coverage.add('revokes with dirty bytes')
    }
  }

  private discard(view: ClientView, { file, first, end }: LeaderMessageOf<'discard'>): void {
    const { coverage } = this.init
    let isDirty = false
    let isPinned = false
    let isAsked = false
    for (const page of view.pages) {
      if (page.file !== file || page.index < first || page.index >= end) continue
      isDirty ||= page.dirty
      isPinned ||= page.pinned
      isAsked ||= page.req !== 0
    }
    if (isDirty) coverage.add('discards with dirty pages')
    if (isPinned) coverage.add('discards that met a pin')
    if (isAsked) coverage.add('discards that crossed a fault')
  }

  private discarded(view: ClientView, { file }: LeaderMessageOf<'discarded'>): void {
    for (const space of view.spaces) {
      if (space.file !== file || space.discard === undefined) continue
      const { first, end } = space.discard
      for (const copies of space.privateCopies) {
        const killed = copies.count(first, Math.min(end - first, MAX_PAGES))
        this.init.coverage.add('private copies killed by a discard', killed)
      }
    }
  }

  private trace(from: string, to: string, frame: Uint8Array, isClients: boolean): void {
    const isFromPeer = nameOf(from).startsWith('peer')
    const codec = !isClients ? raftMessage : isFromPeer ? leaderMessage : clientMessage
    const { message } = decodeFrame<unknown>(codec, frame)
    const text = JSON.stringify(message, (_key, value: unknown) =>
      value instanceof Uint8Array ? `<${value.length} bytes>` : value
    )
    this.init.trace!(`  ${nameOf(from)}>${nameOf(to)} ${text}`)
  }
}

function pagesOf({ runs }: ClientMessageOf<'dropped'>): number {
  return runs.reduce((sum, { count }) => sum + count, 0)
}
