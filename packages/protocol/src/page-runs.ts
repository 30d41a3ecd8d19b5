/**
 * Joins messages about neighboring pages to runs.
 *
 * The cores decide page by page, and what they decide in one step leaves together. A run is only a batch of such
 * messages, in their order: nothing ever waits until a run is complete.
 */
import { MAX_RUN_PAGES, MAX_WRITEBACK_PAGES, type ClientMessage, type LeaderMessage } from './client-messages.js'
import { MAX_BULK_PAYLOAD_BYTES, MAX_GRANT_BYTES } from './limits.js'
import { wireBytesOf } from './page-diff.js'

export interface RunSize {
  readonly pages: number
  /** See `wireBytesOf`. */
  readonly bytes: number
}

/** How messages of one type form runs. */
export interface RunRule<M> {
  readonly maxPages: number
  size(message: M): RunSize
  /** True if `next` starts right behind `message`, and agrees in every field that a run states only once. */
  continues(message: M, next: M): boolean
  /** Joins messages of which each continues the one before. */
  join(messages: readonly [M, ...M[]]): M
}

export type RunRules<M extends { readonly type: string }> = {
  readonly [T in M['type']]?: RunRule<Extract<M, { type: T }>>
}

/**
 * Joins what a client sends on one lane in one step. Messages keep their order. A run of more than one page has at most
 * `maxBytes` bytes of pages and diffs.
 */
export function joinClientRuns(messages: readonly ClientMessage[], maxBytes: number): readonly ClientMessage[] {
  return joinRuns(messages, CLIENT_RULES, Math.min(maxBytes, MAX_BULK_PAYLOAD_BYTES))
}

/** As `joinClientRuns`, for the leader. */
export function joinLeaderRuns(messages: readonly LeaderMessage[], maxBytes: number): readonly LeaderMessage[] {
  return joinRuns(messages, LEADER_RULES, Math.min(maxBytes, MAX_GRANT_BYTES))
}

/** Joins messages by the rules of their types. Those without a rule stay alone. */
export function joinRuns<M extends { readonly type: string }>(
  messages: readonly M[],
  rules: RunRules<M>,
  maxBytes: number
): readonly M[] {
  if (messages.length < 2) return messages
  const joined: M[] = []
  let run: M[] = []
  let size = NOTHING
  const end = (): void => {
    const [first] = run
    if (first === undefined) return
    joined.push(run.length === 1 ? first : ruleOf(rules, first)!.join(run as [M, ...M[]]))
  }
  for (const message of messages) {
    const last = run.at(-1)
    const rule = ruleOf(rules, message)
    const more = rule?.size(message) ?? NOTHING
    const total = { pages: size.pages + more.pages, bytes: size.bytes + more.bytes }
    const fits = rule !== undefined && total.pages <= rule.maxPages && total.bytes <= maxBytes
    if (last?.type === message.type && fits && rule.continues(last, message)) {
      run.push(message)
      size = total
    } else {
      end()
      run = [message]
      size = more
    }
  }
  end()
  return joined
}

const NOTHING: RunSize = { pages: 0, bytes: 0 }

function ruleOf<M extends { readonly type: string }>(rules: RunRules<M>, message: M): RunRule<M> | undefined {
  return rules[message.type as M['type']]
}

// ---- runs of pages that are only counted

interface Counted {
  readonly file: number
  readonly page: number
  readonly count: number
}

const COUNTED = { maxPages: MAX_RUN_PAGES, size: ({ count }: Counted) => ({ pages: count, bytes: 0 }) }

function isNextPage({ file, page, count }: Counted, next: Counted): boolean {
  return next.file === file && next.page === page + count
}

function joinCounted<M extends Counted>(messages: readonly [M, ...M[]]): M {
  return { ...messages[0], count: messages.reduce((sum, { count }) => sum + count, 0) }
}

interface Order extends Counted {
  readonly term: number
  readonly op: number
  readonly after: number
}

function order<M extends Order>(): RunRule<M> {
  return {
    ...COUNTED,
    continues: (last, next) =>
      isNextPage(last, next) &&
      next.term === last.term &&
      next.op === last.op + last.count &&
      next.after === (last.after === 0 ? 0 : last.after + last.count),
    join: joinCounted
  }
}

// ---- runs of pages with bytes

interface Listed {
  readonly pages: readonly Parameters<typeof wireBytesOf>[0][]
}

function listedSize({ pages }: Listed): RunSize {
  return { pages: pages.length, bytes: pages.reduce((sum, page) => sum + wireBytesOf(page), 0) }
}

function joinListed<P, M extends { readonly pages: readonly P[] }>(messages: readonly [M, ...M[]]): M {
  return { ...messages[0], pages: messages.flatMap(({ pages }) => pages) }
}

// ---- the rules

const CLIENT_RULES: RunRules<ClientMessage> = {
  fault: {
    ...COUNTED,
    continues: (fault, next) =>
      isNextPage(fault, next) &&
      next.req === fault.req + fault.count &&
      next.access === fault.access &&
      next.have === fault.have,
    join: joinCounted
  },
  invalidateAck: {
    ...COUNTED,
    continues: (ack, next) => isNextPage(ack, next) && next.op === ack.op + ack.count,
    join: joinCounted
  },
  ownerAck: {
    ...COUNTED,
    continues: (ack, next) => isNextPage(ack, next) && next.op === ack.op + ack.count && next.held === ack.held,
    join: joinCounted
  },
  ownerAckDirty: {
    maxPages: MAX_WRITEBACK_PAGES,
    size: listedSize,
    continues: (ack, next) => next.op === ack.op + ack.pages.length,
    join: joinListed
  }
}

const LEADER_RULES: RunRules<LeaderMessage> = {
  grant: {
    maxPages: MAX_RUN_PAGES,
    size: listedSize,
    continues: (grant, next) =>
      next.file === grant.file &&
      next.page === grant.page + grant.pages.length &&
      next.req === grant.req + grant.pages.length &&
      next.term === grant.term &&
      next.access === grant.access &&
      next.owner === grant.owner &&
      next.epoch === grant.epoch &&
      next.seq === grant.seq &&
      next.discard === grant.discard,
    join: joinListed
  },
  invalidate: order(),
  revoke: order(),
  downgrade: order(),
  // Acknowledgments of bytes that an order has asked for.
  writebackAck: {
    maxPages: MAX_WRITEBACK_PAGES,
    size: ({ pages }) => ({ pages: pages.length, bytes: 0 }),
    continues: (ack, next) => next.term === ack.term && next.req === 0 && ack.req === 0,
    join: joinListed
  }
}
