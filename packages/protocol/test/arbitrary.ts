/** Arbitrary messages of every type. The compiler reports a type that is missing. */
import fc, { type Arbitrary } from 'fast-check'
import { fromString } from 'uint8arrays/from-string'
import type { AdminChange, ClientMessage, LeaderMessage, RaftStreamMessage } from '../src/index.js'

type Variants<M extends { type: string }> = { [T in M['type']]: Arbitrary<Omit<Extract<M, { type: T }>, 'type'>> }

function oneOfTypes<M extends { type: string }>(variants: Variants<M>): Arbitrary<M> {
  const all = Object.entries<Arbitrary<object>>(variants)
  return fc.oneof(...all.map(([type, fields]) => fields.map((value) => ({ type, ...value }) as unknown as M)))
}

const uint = fc.oneof(fc.nat(300), fc.maxSafeNat(), fc.constant(0), fc.constant(Number.MAX_SAFE_INTEGER))
const number = fc.double({ noNaN: true })
const bool = fc.boolean()
/** A text short enough for every text field. */
const text = fc.string({ unit: 'grapheme', maxLength: 40 }).filter((value) => fromString(value).length <= 64)
const bytes = fc.uint8Array({ maxLength: 300 })
const access = fc.constantFrom('read' as const, 'write' as const)
const role = fc.constantFrom('leader' as const, 'follower' as const, 'candidate' as const, 'learner' as const)
const lane = fc.constantFrom('control' as const, 'bulk' as const)
const unit = fc.constantFrom('page' as const, 'file' as const)
const features = fc.record({ lowest: uint, highest: uint })
const member = fc.record({ peerId: text, addresses: fc.array(text, { maxLength: 4 }) })
const members = fc.array(member, { maxLength: 4 })
const fact = fc.oneof(text, number)
const error = fc.record({ code: text, facts: fc.array(fact, { maxLength: 8 }) })
/** The number of pages in a run, and the first one. */
const count = fc.integer({ min: 1, max: 256 })
const start = fc.oneof(
  fc.integer({ min: 0, max: 300 }),
  fc.maxSafeNat().map((value) => Math.max(0, value - 512))
)
const dirty = fc.record({ file: uint, page: uint, epoch: uint, seq: uint, bytes })
const ranges = fc.array(fc.record({ offset: uint, length: uint }), { maxLength: 8 })
const pageWrite = fc
  .tuple(dirty, fc.option(ranges, { nil: undefined }))
  .map(([page, some]) => (some === undefined ? page : { ...page, ranges: some }))
const outcome = fc.record({
  file: uint,
  page: uint,
  epoch: uint,
  seq: uint,
  version: uint,
  result: fc.constantFrom('stored' as const, 'stale' as const, 'base' as const)
})
const stat = fc.record({
  id: uint,
  path: text,
  size: uint,
  pageSize: uint,
  unit,
  version: uint,
  discards: uint,
  createdAt: number,
  modifiedAt: number
})
const request = { seq: uint, settled: uint }
const order = fc.record({ term: uint, op: start, file: uint, page: start, count, after: start })

const adminChange = oneOfTypes<AdminChange>({
  addMember: fc.record({ member }),
  promoteMember: fc.record({ id: text }),
  removeMember: fc.record({ id: text }),
  replaceMember: fc.record({ id: text, by: member }),
  transferLeadership: fc.record({ id: text }),
  allowClient: fc.record({ id: text }),
  denyClient: fc.record({ id: text }),
  addAdmin: fc.record({ id: text }),
  removeAdmin: fc.record({ id: text }),
  setRoundTrip: fc.record({ roundTripMs: uint })
})

export { bytes, error, text, uint }

export const clientMessages: Arbitrary<ClientMessage> = oneOfTypes<ClientMessage>({
  hello: fc.record({ version: uint, features, clusterId: text, founding: text, lane, fence: uint, attach: uint }),
  register: fc.record({ session: uint, ttlMs: uint }),
  keepAlive: fc.record({ nonce: uint }),
  ping: fc.constant({}),
  bulkReceived: fc.record({ bytes: uint }),
  open: fc.record({
    ...request,
    path: text,
    create: bool,
    exclusive: bool,
    size: uint,
    pageSize: uint,
    unit: fc.option(unit, { nil: undefined })
  }),
  truncate: fc.record({ ...request, file: uint, size: uint }),
  punch: fc.record({ ...request, file: uint, first: uint, end: uint }),
  rename: fc.record({ ...request, from: text, to: text }),
  unlink: fc.record({ ...request, path: text }),
  createUnnamed: fc.record({ ...request, size: uint, pageSize: uint, unit: fc.option(unit, { nil: undefined }) }),
  link: fc.record({ ...request, file: uint, path: text }),
  discardAck: fc.record({ op: uint, file: uint }),
  close: fc.record({ ...request, file: uint }),
  extend: fc.record({ ...request, file: uint, size: uint }),
  endSession: fc.record(request),
  stat: fc.record({ seq: uint, path: text }),
  statFile: fc.record({ seq: uint, file: uint }),
  checksum: fc.record({ seq: uint, file: uint, offset: uint, length: uint, before: uint }),
  list: fc.record({ seq: uint, prefix: text, after: text, limit: uint }),
  fault: fc.record({ req: start, file: uint, page: start, count, access, have: uint }),
  invalidateAck: fc.record({ op: start, file: uint, page: start, count }),
  ownerAck: fc.record({ op: start, file: uint, page: start, count, held: bool }),
  ownerAckDirty: fc.record({ op: start, pages: fc.array(pageWrite, { maxLength: 16 }) }),
  dropped: fc.record({ file: uint, runs: fc.array(fc.record({ page: start, count }), { maxLength: 16 }) }),
  writeback: fc.record({ req: uint, pages: fc.array(pageWrite, { maxLength: 16 }) }),
  status: fc.record({ version: uint, seq: uint }),
  administer: fc.record({ version: uint, founding: text, change: adminChange }),
  access: fc.record({ version: uint, after: text }),
  roster: fc.record({ version: uint })
})

export const leaderMessages: Arbitrary<LeaderMessage> = oneOfTypes<LeaderMessage>({
  welcome: fc.record({
    version: uint,
    features,
    clusterId: text,
    founding: text,
    term: uint,
    leader: text,
    members,
    roundTripMs: uint,
    attach: uint
  }),
  attached: fc.constant({}),
  redirect: fc.record({ clusterId: text, founding: text, term: uint, role, leader: text, members, roundTripMs: uint }),
  refused: fc.record({ error }),
  registered: fc.record({ term: uint, session: uint, ttlMs: uint, creditBytes: uint, maxFaults: uint }),
  expired: fc.record({ session: uint }),
  keepAliveAck: fc.record({ term: uint, nonce: uint }),
  pong: fc.constant({}),
  bulkReceived: fc.record({ bytes: uint }),
  members: fc.record({ members }),
  opened: fc.record({ seq: uint, stat }),
  files: fc.record({ seq: uint, files: fc.array(stat, { maxLength: 4 }), done: bool }),
  done: fc.record({ seq: uint }),
  failed: fc.record({ seq: uint, error }),
  checksum: fc.record({ seq: uint, checksum: uint }),
  grant: fc.record({
    term: uint,
    req: start,
    file: uint,
    page: start,
    access,
    owner: bool,
    epoch: uint,
    seq: uint,
    discard: uint,
    pages: fc.array(fc.record({ version: uint, bytes: fc.option(bytes, { nil: undefined }) }), { maxLength: 4 })
  }),
  faultFailed: fc.record({ term: uint, req: uint, file: uint, page: uint, error }),
  invalidate: order,
  revoke: order,
  downgrade: order,
  writebackAck: fc.record({ term: uint, req: uint, pages: fc.array(outcome, { maxLength: 16 }) }),
  writebackFailed: fc.record({ term: uint, req: uint, error }),
  discard: fc.record({ term: uint, op: uint, file: uint, first: uint, end: uint, size: uint, discards: uint }),
  discarded: fc.record({ term: uint, op: uint, file: uint, committed: bool }),
  status: fc.record({
    seq: uint,
    clusterId: text,
    founding: text,
    id: text,
    admitted: bool,
    quarantined: fc.array(fc.record({ peerId: text, refusesThisPeer: fc.boolean(), reason: text }), { maxLength: 4 }),
    role,
    term: uint,
    leader: text,
    lastIndex: uint,
    commitIndex: uint,
    appliedIndex: uint,
    voters: members,
    learners: members,
    roundTripMs: uint,
    sessions: uint,
    ownedPages: uint,
    room: fc.constantFrom('enough' as const, 'little' as const, 'none' as const),
    disk: fc.option(fc.record({ freeBytes: uint, totalBytes: uint, low: fc.boolean() }), { nil: undefined }),
    store: fc.option(fc.record({ logBytes: uint, firstIndex: uint, fileBytes: uint, usedBytes: uint }), {
      nil: undefined
    }),
    repairs: fc.record({ damaged: uint, repaired: uint, lost: uint }),
    sending: fc.array(fc.record({ to: text, index: uint, sentBytes: uint, totalBytes: uint }), { maxLength: 16 }),
    receiving: fc.option(fc.record({ index: uint, receivedBytes: uint }), { nil: undefined }),
    scrub: fc.record({
      comparison: fc.option(
        fc.record({ index: uint, outcome: fc.constantFrom('pending', 'equal', 'incomplete', 'differs') }),
        { nil: undefined }
      ),
      damagedPages: uint,
      damagedRecords: uint
    }),
    stages: fc.array(
      fc.record({ name: text, buckets: fc.array(fc.record({ index: uint, count: uint }), { maxLength: 256 }) }),
      { maxLength: 32 }
    )
  }),
  administered: fc.record({ index: uint }),
  access: fc.record({
    any: bool,
    rules: fc.array(
      fc.record({ id: text, rule: fc.constantFrom('admin' as const, 'allowed' as const, 'denied' as const) }),
      { maxLength: 8 }
    ),
    done: bool
  }),
  roster: fc.record({
    lastIndex: uint,
    members: fc.array(
      fc.record({
        id: text,
        role: fc.constantFrom('voter' as const, 'learner' as const, 'outgoing' as const),
        matchIndex: uint,
        answers: bool,
        hasCaughtUp: bool
      }),
      { maxLength: 4 }
    ),
    invited: fc.array(fc.record({ peerId: text, replaces: text }), { maxLength: 4 })
  })
})

const entry = fc.record({
  index: uint,
  term: uint,
  kind: fc.constantFrom('normal' as const, 'config' as const, 'noop' as const),
  data: bytes
})

const snapshot = fc.record({ index: uint, term: uint, configuration: entry })

const mark = { term: uint, lastTerm: uint, lastIndex: uint }
const life = { incarnation: text, boot: uint, process: text, admitted: bool, ...mark }
const introduction = fc.record({
  version: uint,
  features,
  clusterId: text,
  founding: text,
  from: text,
  addresses: fc.array(text, { maxLength: 4 }),
  joined: bool,
  revision: uint,
  ...life
})

export const raftMessages: Arbitrary<RaftStreamMessage> = oneOfTypes<RaftStreamMessage>({
  raftHello: introduction,
  raftWelcome: introduction,
  raftRefused: fc.record({
    error,
    reason: fc.constantFrom(...(['version', 'founding', 'membership', 'evidence', 'behind'] as const)),
    founding: fc.option(bytes, { nil: undefined })
  }),
  pageWanted: fc.record({ file: uint, page: uint }),
  pageCopy: fc.record({
    file: uint,
    page: uint,
    applied: uint,
    damaged: fc.boolean(),
    copy: fc.option(fc.record({ version: uint, crc: uint, bytes }), { nil: undefined })
  }),
  raftConfiguration: fc.record({ config: bytes }),
  raftCompared: fc.record({ index: uint, hash: text }),
  raftJoin: fc.record({ version: uint, features, clusterId: text, from: text, incarnation: text, rejoins: text }),
  raftInvited: fc.record({ founding: bytes, config: bytes, leader: text }),
  raftSeen: fc.record({
    peers: fc.array(fc.record({ member: text, ...life, past: fc.record(mark) }), { maxLength: 4 })
  }),
  raftAdmitted: fc.record({ incarnation: text }),
  raftAddresses: fc.record({ members }),
  requestVote: fc.record({ term: uint, lastIndex: uint, lastTerm: uint, transfer: bool }),
  requestPreVote: fc.record({ term: uint, lastIndex: uint, lastTerm: uint }),
  preVoteReply: fc.record({ term: uint, granted: bool }),
  timeoutNow: fc.record({ term: uint }),
  voteReply: fc.record({ term: uint, granted: bool }),
  append: fc.record({
    term: uint,
    prevIndex: uint,
    prevTerm: uint,
    commit: uint,
    entries: fc.array(entry, { maxLength: 5 })
  }),
  appendReply: fc.record({ term: uint, rejected: bool, index: uint, hintIndex: uint, hintTerm: uint }),
  heartbeat: fc.record({ term: uint, commit: uint, round: uint }),
  heartbeatReply: fc.record({
    term: uint,
    round: uint,
    room: fc.constantFrom('enough' as const, 'little' as const, 'none' as const)
  }),
  snapshot: fc.record({ term: uint, snapshot, offset: uint, data: bytes, crc: uint, done: bool }),
  snapshotReply: fc.record({ term: uint, index: uint, offset: uint, refused: bool })
})
