import { MAX_RUN_PAGES, type ClientMessage } from '@quire/protocol'
import { settle } from '@quire/testing'
import fc from 'fast-check'
import { afterEach, describe, expect, it } from 'vitest'
import { TestClient, createStubGroup, openRequest, type StubGroup } from './support/stub-group.js'

const BIG = Number.MAX_SAFE_INTEGER
/** Mostly values that are valid in this test, sometimes the ends of the range. */
const small = fc.oneof(
  { weight: 6, arbitrary: fc.nat(6) },
  { weight: 1, arbitrary: fc.constantFrom(BIG, BIG - 1, 2 ** 32) }
)
/** The first page, request or operation of a run, and the number of its pages. */
const start = small.map((value) => Math.min(value, BIG - 2 * MAX_RUN_PAGES))
const count = fc.oneof({ weight: 4, arbitrary: fc.integer({ min: 1, max: 3 }) }, fc.constant(MAX_RUN_PAGES))
const path = fc.constantFrom(
  '/a',
  '/b',
  '',
  'relative',
  '/a//b',
  '/..',
  `/${'x'.repeat(1000)}`,
  '/\u0000',
  '/e\u0301',
  // A refused path, with a surrogate pair at the place where an error cuts it.
  `/${'x'.repeat(254)}\u{1f600}//`
)
const pageBytes = fc.constantFrom(0, 1, 4096, 8192, 65_536).map((length) => new Uint8Array(length).fill(7))
const access = fc.constantFrom<'read' | 'write'>('read', 'write')
const dirty = fc.record({ file: small, page: small, epoch: small, seq: small, bytes: pageBytes })
const request = { seq: small, settled: small }

function message<T extends ClientMessage['type']>(type: T, fields: Record<string, fc.Arbitrary<unknown>>) {
  return fc.record(fields).map((value) => ({ type, ...value }) as unknown as ClientMessage)
}

const control = fc.oneof(
  message('register', { session: small, ttlMs: small }),
  message('keepAlive', { nonce: small }),
  message('ping', {}),
  message('bulkReceived', { bytes: small }),
  message('open', {
    ...request,
    path,
    create: fc.boolean(),
    exclusive: fc.boolean(),
    size: small,
    pageSize: fc.constantFrom(0, 4096, 3),
    unit: fc.constantFrom(undefined, 'page', 'file')
  }),
  message('close', { ...request, file: small }),
  message('extend', { ...request, file: small, size: fc.constantFrom(0, 8192, BIG) }),
  message('truncate', { ...request, file: small, size: fc.constantFrom(0, 100, 8192, BIG) }),
  message('punch', { ...request, file: small, first: small, end: small }),
  message('rename', { ...request, from: path, to: path }),
  message('unlink', { ...request, path }),
  message('createUnnamed', {
    ...request,
    size: small,
    pageSize: fc.constantFrom(0, 4096, 3),
    unit: fc.constantFrom(undefined, 'page', 'file')
  }),
  message('link', { ...request, file: small, path }),
  message('discardAck', { op: small, file: small }),
  message('stat', { seq: small, path }),
  message('statFile', { seq: small, file: small }),
  message('list', { seq: small, prefix: path, after: path, limit: small }),
  message('fault', { req: start, file: small, page: start, count, access, have: small }),
  message('invalidateAck', { op: start, file: small, page: start, count }),
  message('ownerAck', { op: start, file: small, page: start, count, held: fc.boolean() }),
  message('dropped', { file: small, runs: fc.array(fc.record({ page: start, count }), { maxLength: 3 }) }),
  message('endSession', request)
)
const bulk = fc.oneof(
  message('ownerAckDirty', { op: start, pages: fc.array(dirty, { maxLength: 3 }) }),
  message('writeback', { req: small, pages: fc.array(dirty, { maxLength: 3 }) })
)
const event = fc.oneof(
  fc.record({ kind: fc.constant('control' as const), client: fc.nat(1), message: control }),
  fc.record({ kind: fc.constant('bulk' as const), client: fc.nat(1), message: bulk }),
  fc.record({ kind: fc.constant('bytes' as const), client: fc.nat(1), bytes: fc.uint8Array({ maxLength: 40 }) }),
  fc.record({ kind: fc.constant('time' as const), ms: fc.nat(700) }),
  fc.record({ kind: fc.constant('lead' as const) })
)

let group: StubGroup | undefined

afterEach(() => {
  group?.server.close()
  group?.sessionServer.close()
})

describe('hostile clients', () => {
  it('hostile clients never stop the node, whatever messages they send in whatever order', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(event, { minLength: 20, maxLength: 60 }), async (events) => {
        group = createStubGroup()
        group.found()
        let term = 1
        group.lead(term)
        const clients = [new TestClient(group, 'x'), new TestClient(group, 'y')]
        for (const each of events) {
          if (each.kind === 'time') await group.clock.advance(each.ms)
          else if (each.kind === 'lead') group.lead(++term)
          else {
            const client = clients[each.client]!
            if (client.control === undefined || client.control.closed) {
              await client.connect()
              // The file that both clients use, so that small numbers name it.
              await client.control.send(openRequest(1, '/a', { size: 9000 }))
            }
            if (each.kind === 'control') await client.control.send(each.message)
            else if (each.kind === 'bulk') await client.bulk.send(each.message)
            else client.control.stream.send(Uint8Array.from([0, 0, 0, 0, ...each.bytes]))
          }
          await settle()
          expect(group.fatal).toEqual([])
        }
        const survivor = await new TestClient(group, 'z').connect()
        expect(survivor.session).toBeGreaterThan(0)
        group.server.close()
        group.sessionServer.close()
        expect(group.clock.pending).toBe(0)
      }),
      { numRuns: 150 }
    )
  }, 30_000)
})
